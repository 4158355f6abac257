package units

import "fmt"

// Plural returns a number and its noun in singular or plural: "1 frame", "2 frames".
func Plural[N ~int | ~int64 | ~uint64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
