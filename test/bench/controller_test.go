package bench

import (
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// settle is how long a daemon is left alone before its memory is read: the controller gives
// back what a burst left behind once it has been quiet for five to ten seconds.
const settle = 15 * time.Second

// large is a directory with the data of a large site, made once.
var large struct {
	once sync.Once
	dir  string
}

// largeSite is a site with ten thousand ports that no controller runs on.
func largeSite(b *testing.B) *site {
	b.Helper()
	binary(b)
	large.once.Do(func() {
		dir := filepath.Join(scratch.dir, "large")
		s := newSite(b, dir)
		d, _ := s.begin(b)
		s.api.fill(b)
		d.stop(b)
		large.dir = dir
	})
	if large.dir == "" {
		b.Fatal("the large site could not be made")
	}
	return newSite(b, large.dir)
}

// BenchmarkStart: from the start of the controller's process to its first 200 on a list
// of networks, with etcd inside. Empty begins with no data at all. cpu is the processor
// time that the process has used until then.
func BenchmarkStart(b *testing.B) {
	binary(b)
	run := func(b *testing.B, make func(*testing.B) *site) {
		var took times
		var spent time.Duration
		for b.Loop() {
			b.StopTimer()
			s := make(b)
			b.StartTimer()
			d, t := s.begin(b)
			b.StopTimer()
			took, spent = append(took, t), spent+d.cpu(b)
			d.stop(b)
			b.StartTimer()
		}
		took.report(b, "")
		b.ReportMetric(float64(spent.Milliseconds())/float64(len(took)), "cpu-ms")
	}
	b.Run("Empty", func(b *testing.B) { run(b, func(b *testing.B) *site { return newSite(b, b.TempDir()) }) })
	b.Run("10000Ports", func(b *testing.B) {
		s := largeSite(b)
		run(b, func(*testing.B) *site { return s })
	})
}

// BenchmarkList: lists as a client sees them, over HTTP on loopback, each read to its end
// and as long as it has to be.
func BenchmarkList(b *testing.B) {
	s := largeSite(b)
	s.begin(b)
	for _, c := range []struct {
		name, path string
		least      int
	}{
		{"10000Ports", "ports", manyPorts * 500},
		{"ByDevice", "ports?device_id=vm-4711", 500},
		{"ByMissingDevice", "ports?device_id=none", 0},
		{"Page100", "ports?limit=100", 100 * 500},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took times
			for b.Loop() {
				began := time.Now()
				s.api.get(b, c.path, c.least)
				took = append(took, time.Since(began))
			}
			took.report(b, "")
		})
	}
}

// BenchmarkControllerMemory: the controller's memory with etcd inside, in MB. Idle has an
// empty store; Restarted has found ten thousand ports in its store; Made has just made
// them; Listed has given the whole list fifty times, four clients at a time.
func BenchmarkControllerMemory(b *testing.B) {
	binary(b)
	for _, c := range []struct {
		name    string
		prepare func(b *testing.B) *daemon
	}{
		{"Idle", func(b *testing.B) *daemon {
			d, _ := newSite(b, "").begin(b)
			return d
		}},
		{"10000PortsRestarted", func(b *testing.B) *daemon {
			d, _ := largeSite(b).begin(b)
			return d
		}},
		{"10000PortsMade", func(b *testing.B) *daemon {
			s := newSite(b, "")
			d, _ := s.begin(b)
			s.api.fill(b)
			return d
		}},
		{"10000PortsListed", func(b *testing.B) *daemon {
			s := largeSite(b)
			d, _ := s.begin(b)
			s.listed(b)
			return d
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				d := c.prepare(b)
				at := d.memory(b)
				time.Sleep(settle)
				d.alive(b)
				m := d.memory(b)
				b.ReportMetric(at.resident, "at-once-MB")
				b.ReportMetric(m.resident, "settled-MB")
				b.ReportMetric(m.own, "settled-own-MB")
				d.stop(b)
			}
		})
	}
}

// listed has four clients take the whole list, fifty times in all.
func (s *site) listed(b *testing.B) {
	b.Helper()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 13 {
				status, text, err := s.api.call(b, http.MethodGet, "ports", nil)
				if err != nil || status != http.StatusOK || len(text) < manyPorts*500 {
					b.Errorf("list: %d, %d bytes (%v)", status, len(text), err)
					return
				}
			}
		})
	}
	wg.Wait()
}
