package main

import (
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// settleMemory lets garbage wait: it is collected when the heap has grown to five times what is in use, which halves what collecting costs, or when
// the memory that there is (of the container, else of the machine) runs short. GOGC, other than 100, and GOMEMLIMIT win where they are set.
func settleMemory() error {
	const usual, patient = 100, 400
	if before := debug.SetGCPercent(patient); before != usual {
		debug.SetGCPercent(before)
	}
	_, err := memlimit.Set(memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)))
	return err
}
