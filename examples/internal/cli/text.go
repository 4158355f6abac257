package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// maxText is the most bytes that a file of text may have.
const maxText = 1 << 20

// Text is an argument, or what is in FILE if it is @FILE.
func Text(arg string) (string, error) {
	name, file := strings.CutPrefix(arg, "@")
	if !file {
		return arg, nil
	}
	in, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, maxText+1))
	if err == nil && len(b) > maxText {
		err = fmt.Errorf("%s: more than 1 MiB of text", name)
	}
	return string(b), err
}
