package seal

import "time"

// SetNow gives the keys a clock.
func (k *Keys) SetNow(now func() time.Time) { k.now = now }

// The times of a rotation, and the sizes.
const (
	RereadEvery = rereadEvery
	RereadAgain = rereadAgain
	Settling    = settling
	StepSize    = stepSize
	MostLeft    = mostLeft
	Watched     = watched
)
