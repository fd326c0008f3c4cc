// only with auth, users: this file

package main

import "time"

// profile is what users does.
func (d *demo) profile(alice *person) {
	d.title("Alice reads her profile, which a job made, and gives it a name")
	var me answer
	for range 100 {
		if me = d.call(alice, "GET", "/v1/users/me", nil, nil); me.status == 200 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	d.want(me, 200)
	d.want(d.call(alice, "PATCH", "/v1/users/me", object{"name": "Alice"}, header{"If-Match": me.header.Get("ETag")}), 200)
}
