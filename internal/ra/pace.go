package ra

import "time"

// pace says when the next advertisement to all is due, within RFC 4861's limits. It has no
// clock of its own.
type pace struct {
	next    time.Time // when the next is due
	last    time.Time // when one was sent; zero = never
	initial int       // how many of the first, quicker ones are left
	tokens  int       // unicast answers that may be sent now
	filled  time.Time // when tokens was right
}

func newPace(now time.Time) *pace {
	return &pace{next: now, initial: initialCount, tokens: unicastBurst, filled: now}
}

// restart makes one due as soon as may be: there is something new to tell.
func (p *pace) restart(now time.Time) {
	p.initial = initialCount
	p.asked(now, 0)
}

// asked moves the next one forward to after the delay, but never nearer to the last one than
// MIN_DELAY_BETWEEN_RAS.
func (p *pace) asked(now time.Time, delay time.Duration) {
	at := now.Add(delay)
	if !p.last.IsZero() && at.Before(p.last.Add(betweenMulticast)) {
		at = p.last.Add(betweenMulticast)
	}
	if at.Before(p.next) {
		p.next = at
	}
}

func (p *pace) due(now time.Time) bool { return !now.Before(p.next) }

// sent notes that one was sent, and that the next is due after the interval, sooner for the
// first few.
func (p *pace) sent(now time.Time, interval time.Duration) {
	if p.initial > 0 {
		p.initial--
		interval = min(interval, initialInterval)
	}
	p.last, p.next = now, now.Add(interval)
}

// unicast reports whether one host may be answered alone, and counts it.
func (p *pace) unicast(now time.Time) bool {
	if n := int(now.Sub(p.filled) / unicastEvery); n > 0 {
		p.tokens = min(p.tokens+n, unicastBurst)
		p.filled = p.filled.Add(time.Duration(n) * unicastEvery)
	}
	if p.tokens == 0 {
		return false
	}
	p.tokens--
	return true
}
