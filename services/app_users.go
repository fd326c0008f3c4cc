package main

import (
	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/services/users"
)

func (a *app) users() (mounted, error) {
	kek, err := a.config.kek()
	if err != nil {
		return mounted{}, err
	}
	module, err := users.New(a.pools["users"], a.redis, kek,
		// only with auth:
		a.authClient("users"),
		// end auth
		a.log)
	if err != nil {
		return mounted{}, err
	}
	return mounted{module.Routes, module.Jobs(), module}, nil
}

// usersClient is how the named module calls users.
func (a *app) usersClient(caller string) usersv1.ClientWithResponsesInterface {
	client, err := usersv1.NewClientWithResponses("http://users", usersv1.WithHTTPClient(a.network.Client(caller, a.config.clientSecrets[caller])))
	if err != nil { // a constant address
		panic(err)
	}
	return client
}
