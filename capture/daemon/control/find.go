package control

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// find returns the attached listener that a word names: QUEUE:ID, or a name that
// only one has. A word of the form QUEUE:ID is never a name: a listener with such a
// name cannot be mistaken for another.
func find(word string, attached []Listener) (Listener, error) {
	if isKey(word) {
		for _, l := range attached {
			if l.Key() == word {
				return l, nil
			}
		}
		return Listener{}, refuse(http.StatusNotFound, "no listener %s is attached%s", word, others(attached))
	}
	var named []Listener
	for _, l := range attached {
		if l.Name == word {
			named = append(named, l)
		}
	}
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		return Listener{}, refuse(http.StatusNotFound, "no listener named %q is attached%s", word, others(attached))
	}
	return Listener{}, refuse(http.StatusConflict, "%d listeners are named %q: choose one of %s", len(named), word, list(named))
}

// isKey reports whether a word has the form QUEUE:ID.
func isKey(word string) bool {
	queue, id, two := strings.Cut(word, ":")
	_, badQueue := strconv.ParseUint(queue, 10, 31)
	_, badID := strconv.ParseUint(id, 10, 64)
	return two && badQueue == nil && badID == nil
}

// others lists the attached listeners for an error.
func others(attached []Listener) string {
	if len(attached) == 0 {
		return "; none is"
	}
	return "; attached are " + list(attached)
}

// list lists at most 8 listeners.
func list(all []Listener) string {
	const enough = 8
	var words []string
	for i, l := range all {
		if i == enough {
			words = append(words, fmt.Sprintf("%d more", len(all)-enough))
			break
		}
		words = append(words, fmt.Sprintf("%s (%s, pid %d)", l.Key(), l.Name, l.PID))
	}
	return strings.Join(words, ", ")
}
