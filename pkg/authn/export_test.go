package authn

import "time"

// SetNow gives the verifier a clock.
func (v *Verifier) SetNow(now func() time.Time) { v.now = now }

// Most is how many verified tokens each generation holds.
const Most = remembered

// SetMost changes that.
func (v *Verifier) SetMost(n int) { v.most = n }

// Remembered is how many verified tokens are kept.
func (v *Verifier) Remembered() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.recent) + len(v.older)
}

// Forget drops the verified tokens, but not the keys.
func (v *Verifier) Forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.recent, v.older = nil, nil
}
