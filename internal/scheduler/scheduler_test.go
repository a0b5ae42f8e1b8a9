package scheduler

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"quell"
)

func TestJobsArePlacedFirstComeFirstServed(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, m gauges) {
		for i := range 5 {
			c.create(fmt.Sprint("job", 9-i)) // the age counts, not the id
		}
		synctest.Wait()
		require.Empty(t, c.order())
		require.Equal(t, "waits for a node: none is registered, start an agent", c.state("job9").Reason)
		require.InDelta(t, 5, m("quell_jobs_queued"), 0)

		c.join("n1", 2)
		synctest.Wait()
		require.ElementsMatch(t, []string{"job9@n1", "job8@n1"}, c.order())
		require.Equal(t, quell.StatusStarting, c.state("job9").Status)
		require.Equal(t, "waits for a node with room: all 1 are full", c.state("job7").Reason)
		require.Empty(t, c.state("job9").Reason)

		for _, next := range []string{"job7", "job6", "job5"} {
			c.end([]string{"", "", "", "", "", "job7", "job8", "job9"}[next[3]-'0'])
			synctest.Wait()
			require.Equal(t, next+"@n1", c.order()[len(c.order())-1])
		}
		require.InDelta(t, 0, m("quell_jobs_queued"), 0)
	})
}

// A place that becomes free while the oldest job's reason is being written is
// not given to a younger one.
func TestAJobWhoseReasonIsBeingWrittenIsNotOvertaken(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		goOn := make(chan struct{})
		c.onCall(func(call, id string) error {
			if call == "commit" && id == "old" {
				<-goOn
			}
			return nil
		})
		c.create("old")
		c.create("young")
		synctest.Wait()
		c.join("n1", 1)
		synctest.Wait()
		require.Empty(t, c.order())
		close(goOn)
		synctest.Wait()
		require.Equal(t, []string{"old@n1"}, c.order())
	})
}

// Each job goes to the node with the largest part of it free, and what was
// placed counts before the followed view shows it.
func TestPlacementsCountBeforeTheyShow(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.join("big", 4)
		c.join("small", 2)
		synctest.Wait()
		for i := range 4 {
			c.create(fmt.Sprint("job", i))
		}
		synctest.Wait()
		on := map[string]int{}
		for _, p := range c.order() {
			on[p[5:]]++
		}
		require.Equal(t, map[string]int{"big": 3, "small": 1}, on)

		c.create("late0")
		c.create("late1")
		c.create("late2")
		c.create("late3")
		synctest.Wait()
		require.Len(t, c.order(), 6) // all that there is room for
	})
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.create("job0")
		c.create("job1")
		synctest.Wait()
		c.hold("active", true)
		c.join("n1", 1)
		synctest.Wait()
		require.Equal(t, []string{"job0@n1"}, c.order())
		time.Sleep(10 * time.Second) // looks again and again, at a view that does not change
		require.Equal(t, []string{"job0@n1"}, c.order())
		require.Equal(t, 1, c.count("assign"))
		c.hold("active", false)
		c.end("job0")
		synctest.Wait()
		require.Equal(t, []string{"job0@n1", "job1@n1"}, c.order())
	})
}

func TestReasonsAreWrittenOnce(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.create("job")
		synctest.Wait()
		require.Equal(t, 1, c.count("commit"))
		c.create("other")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, 2, c.count("commit"))
	})
}

func TestQueuedJobsThatAreAbortedNeverStart(t *testing.T) {
	for name, abort := range map[string]func(c *cluster){
		"graceful": func(c *cluster) { c.abort("job", "graceful") },
		"force":    func(c *cluster) { c.abort("job", "force") },
		"all":      func(c *cluster) { c.abortAll("/aborts/a", "graceful") },
		"force, overwritten by nonsense before it was told": func(c *cluster) {
			c.abort("job", "force")
			synctest.Wait()
			c.abort("job", "nonsense")
		},
	} {
		t.Run(name, func(t *testing.T) {
			under(t, func(t *testing.T, c *cluster, _ gauges) {
				c.create("job")
				synctest.Wait()
				commits := c.count("commit")
				abort(c)
				synctest.Wait()
				s := c.state("job")
				require.Equal(t, quell.StatusAborted, s.Status)
				require.Equal(t, quell.OutcomeAborted, s.Abort.Outcome)
				require.Equal(t, quell.PlaybookSkipped, s.Playbooks[0].Status)
				require.Equal(t, commits+1, c.count("commit"))
				c.join("n1", 1)
				synctest.Wait()
				require.Empty(t, c.order())
			})
		})
	}
}

// A force abort counts although its key is deleted before it is acted on; a
// graceful one is withdrawn.
func TestADeletedAbortOfAQueuedJob(t *testing.T) {
	for value, status := range map[string]quell.Status{"force": quell.StatusAborted, "graceful": quell.StatusStarting} {
		t.Run(value, func(t *testing.T) {
			under(t, func(t *testing.T, c *cluster, _ gauges) {
				c.create("job")
				synctest.Wait()
				goOn := make(chan struct{})
				c.onCall(func(call, _ string) error {
					if call == "load" {
						<-goOn
					}
					return nil
				})
				c.abort("job", value)
				synctest.Wait()
				c.abort("job", "")
				synctest.Wait()
				c.onCall(nil)
				close(goOn)
				c.join("n1", 1)
				synctest.Wait()
				require.Equal(t, status, c.state("job").Status)
			})
		})
	}
}

func TestAnUnreadableAbortShowsAndDoesNotHoldUp(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.create("job")
		synctest.Wait()
		c.abort("job", "frce")
		synctest.Wait()
		require.Contains(t, c.state("job").Abort.Error, "frce")
		commits := c.count("commit")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, commits, c.count("commit"))
		c.abort("job", "")
		synctest.Wait()
		require.Nil(t, c.state("job").Abort)
		c.abort("job", "frce")
		c.join("n1", 1)
		synctest.Wait()
		require.Equal(t, quell.StatusStarting, c.state("job").Status)
	})
}

// The intent comes between the scheduler's read and its write: the write is
// refused, and the job ends at once.
func TestAnIntentThatComesWhileAJobIsPlaced(t *testing.T) {
	for name, abort := range map[string]func(c *cluster){
		"own": func(c *cluster) { c.abort("job", "force") },
		"all": func(c *cluster) { c.abortAll("/aborts/a", "force") },
	} {
		t.Run(name, func(t *testing.T) {
			under(t, func(t *testing.T, c *cluster, _ gauges) {
				first := true
				c.onCall(func(call, _ string) error {
					if call == "assign" && first {
						first = false
						abort(c)
					}
					return nil
				})
				c.join("n1", 1)
				begin := time.Now()
				c.create("job")
				synctest.Wait()
				require.Equal(t, quell.StatusAborted, c.state("job").Status)
				require.Zero(t, time.Since(begin))
				require.Empty(t, c.order())
				c.create("next") // it has the place
				synctest.Wait()
				require.Equal(t, []string{"next@n1"}, c.order())
			})
		})
	}
}

func TestWhatFailsIsTriedAgainAfterAPause(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.onCall(func(call, id string) error {
			if call == "assign" && id == "job" && c.count("assign") <= 3 {
				return errBroken
			}
			return nil
		})
		begin := time.Now()
		c.join("n1", 1)
		c.create("job")
		synctest.Wait()
		require.Equal(t, 1, c.count("assign"))
		c.create("other") // what fails does not hold up others
		synctest.Wait()
		require.Equal(t, []string{"other@n1"}, c.order())
		c.end("other")
		for len(c.order()) < 2 {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			require.Less(t, time.Since(begin), time.Minute)
		}
		require.Equal(t, "job@n1", c.order()[1])
		require.GreaterOrEqual(t, time.Since(begin), 2*pause)
		require.LessOrEqual(t, c.count("assign"), 5)
	})
}

// A node that has gone, and still shows, costs a transition now and then.
func TestANodeThatHasGone(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.join("n1", 1)
		synctest.Wait()
		c.hold("nodes", true)
		c.leave("n1")
		c.create("job")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Empty(t, c.order())
		require.LessOrEqual(t, c.count("assign"), 24)
		c.hold("nodes", false)
		c.join("n2", 1)
		synctest.Wait()
		require.Equal(t, []string{"job@n2"}, c.order())
	})
}

// What was done and does not show yet is not done over and over.
func TestEndedJobsThatStillShowAreLeftAlone(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.create("job")
		synctest.Wait()
		c.hold("active", true)
		c.abort("job", "force")
		synctest.Wait()
		require.Equal(t, quell.StatusAborted, c.state("job").Status)
		loads := c.count("load")
		for i := range 20 {
			c.abortAll(fmt.Sprint("/aborts/", i), "graceful")
			time.Sleep(time.Second)
			synctest.Wait()
		}
		require.Equal(t, loads, c.count("load"))
	})
}

func TestAbortAllIsDeletedOnceNothingOlderIsActive(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.join("n1", 4)
		c.create("old")
		synctest.Wait()
		c.abortAll("/aborts/a", "force")
		c.create("young")
		synctest.Wait()
		require.Equal(t, 1, c.abortKeys()) // old is its agent's to end
		require.Equal(t, quell.StatusStarting, c.state("young").Status)
		c.end("old")
		synctest.Wait()
		require.Equal(t, 0, c.abortKeys())
		require.Equal(t, 1, c.count("delete"))
	})
	t.Run("the emergency key stays", func(t *testing.T) {
		under(t, func(t *testing.T, c *cluster, _ gauges) {
			c.abortAll("/jobs/*/abort", "force")
			c.do(func(int64) { c.star = c.aborts["/jobs/*/abort"].Revision })
			c.abortAll("/aborts/star", "force")
			synctest.Wait()
			require.Equal(t, 1, c.abortKeys())
		})
	})
}

// The followed list of jobs lags, and misses a job that the abort-all hits.
func TestAbortAllIsNotDeletedOnAViewThatLags(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.hold("active", true)
		c.create("job")
		c.abortAll("/aborts/a", "force")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, 1, c.abortKeys())
		require.LessOrEqual(t, c.count("active"), 12) // no hot loop either
		require.GreaterOrEqual(t, c.count("active"), 2)
		c.hold("active", false)
		synctest.Wait()
		require.Equal(t, quell.StatusAborted, c.state("job").Status)
		require.Equal(t, 0, c.abortKeys())
	})
	t.Run("and shows the deletion late", func(t *testing.T) {
		under(t, func(t *testing.T, c *cluster, _ gauges) {
			c.abortAll("/aborts/a", "force")
			c.mu.Lock()
			c.held["aborts"] = true
			c.mu.Unlock()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			require.LessOrEqual(t, c.count("delete"), 12)
		})
	})
}

// Everything that was on its way ends before the lead is left, and nothing is
// written afterwards.
func TestLossOfTheLead(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, m gauges) {
		require.InDelta(t, 1, m("quell_scheduler_leader"), 0)
		c.mu.Lock()
		first := c.leader
		c.mu.Unlock()
		waits := make(chan struct{})
		c.onCall(func(call, _ string) error {
			if call == "assign" && c.count("assign") == 1 {
				<-waits
			}
			return nil
		})
		c.join("n1", 1)
		c.create("job")
		synctest.Wait()
		c.mu.Lock()
		c.lead()
		c.mu.Unlock()
		synctest.Wait()
		c.mu.Lock()
		require.Equal(t, first, c.leader) // it waits for what it started
		c.mu.Unlock()
		c.do(func(revision int64) { c.leader.Revision = revision })
		close(waits)
		synctest.Wait()
		require.Equal(t, []string{"job@n1"}, c.order()) // by the next term
		require.Equal(t, 2, c.count("assign"))
		c.mu.Lock()
		require.Greater(t, c.leader.Revision, first.Revision)
		c.mu.Unlock()
	})
}

// The leader's key is gone, and its session is not: the lead is given up
// instead of being refused for ever.
func TestADeposedLeaderCampaignsAgain(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.join("n1", 1)
		c.do(func(revision int64) { c.leader.Revision = revision })
		synctest.Wait()
		c.create("job")
		synctest.Wait()
		require.Equal(t, []string{"job@n1"}, c.order())
		require.Equal(t, 3, c.count("assign"))
	})
}
