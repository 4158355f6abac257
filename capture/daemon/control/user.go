package control

import (
	"os/user"
	"strconv"
	"sync"
)

// users are the names of the UIDs seen so far: looking one up may take a file,
// or a server somewhere.
var users sync.Map

// userName is a UID's name, or its number where it has none.
func userName(uid int) string {
	if name, ok := users.Load(uid); ok {
		return name.(string)
	}
	name := strconv.Itoa(uid)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	users.Store(uid, name)
	return name
}
