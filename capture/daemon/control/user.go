package control

import (
	"os/user"
	"strconv"
	"sync"
)

// users caches the names of UIDs: a lookup may read a file or query a server.
var users sync.Map

// userName returns a UID's name, or its number where it has none.
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
