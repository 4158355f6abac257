// Package logtest records log lines in tests.
//
//	code under test ─► *slog.Logger (Recorder.Logger) ─► Recorder.Lines
package logtest
