package logtest
