package main

import "example.com/groundwork/services/transactions"

func (a *app) transactions() (mounted, error) {
	module, err := transactions.New(a.pools["transactions"],
		// only with users:
		a.usersClient("transactions"),
		// end users
		a.log)
	if err != nil {
		return mounted{}, err
	}
	return mounted{routes: module.Routes, jobs: module.Jobs()}, nil
}
