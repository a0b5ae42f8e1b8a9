package scheduler

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"quell"
)

// first come, first served: on each lock, whatever else there is to do.
func TestLocksInTurn(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.join("n1", 10)
		c.create("a", fabric("f"))
		c.create("b", fabric("f"))
		c.create("other", fabric("g"))
		c.create("c", fabric("f"))
		c.create("free")
		synctest.Wait()
		require.ElementsMatch(t, []string{"a@n1", "other@n1", "free@n1"}, c.order())
		require.Equal(t, "waits for the end of job a, which is before it on fabric f", c.state("b").Reason)
		require.Equal(t, "waits for the end of job b, which is before it on fabric f", c.state("c").Reason)
		commits := c.count("commit")
		c.end("a")
		synctest.Wait()
		require.Equal(t, "b@n1", c.order()[3])
		require.Equal(t, commits, c.count("commit"), "what the others wait for has not changed")
		require.Equal(t, quell.StatusQueued, c.state("c").Status)
		c.end("b")
		synctest.Wait()
		require.Equal(t, "c@n1", c.order()[4])
	})
}

// A job that wants several locks has all or none, and keeps its place on each:
// it is neither overtaken for ever nor in a deadlock with another.
func TestSeveralLocks(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.join("n1", 10)
		c.create("x", devices("1"))
		c.create("both", devices("2", "1"))
		c.create("late1", devices("1"))
		c.create("late2", devices("2"))
		c.create("late3", devices("3"))
		synctest.Wait()
		require.ElementsMatch(t, []string{"x@n1", "late3@n1"}, c.order(), "nobody overtakes on device 2 either")
		require.Equal(t, "waits for the end of job x, which is before it on device 1 of fabric __DEFAULT__", c.state("both").Reason)
		require.Contains(t, c.state("late2").Reason, "job both")
		c.end("x")
		synctest.Wait()
		require.Equal(t, "both@n1", c.order()[2])
		c.end("both")
		synctest.Wait()
		require.ElementsMatch(t, []string{"late1@n1", "late2@n1"}, c.order()[3:])
	})
}

// A job that waits for a node keeps its place on its locks; one that waits for
// a lock keeps no place on a node.
func TestLocksAndRoom(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.join("n1", 2)
		c.create("a", fabric("f"))
		c.create("waits", fabric("f"))
		c.create("b")
		c.create("full", fabric("g"))
		c.create("behind", fabric("g"))
		synctest.Wait()
		require.ElementsMatch(t, []string{"a@n1", "b@n1"}, c.order())
		require.Contains(t, c.state("full").Reason, "node with room")
		require.Contains(t, c.state("behind").Reason, "job full")
		c.end("b")
		synctest.Wait()
		require.Equal(t, "full@n1", c.order()[2])
	})
}

func TestOnLockFail(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.join("n1", 10)
		noWait := func(s *quell.Spec) { s.OnLock = quell.OnLockFail }
		c.create("a", fabric("f"), noWait)
		c.create("b", fabric("f"), noWait)
		synctest.Wait()
		require.Equal(t, []string{"a@n1"}, c.order())
		s := c.state("b")
		require.Equal(t, quell.StatusFailure, s.Status)
		require.Contains(t, s.Reason, "job a")
		require.Contains(t, s.Reason, "on_lock=fail")
	})
}

// What is followed of the locks is older than the job: it does not fail for a
// holder whose end its requester has seen.
func TestOnLockFailLooksAgain(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.join("n1", 10)
		c.create("a", fabric("f"))
		synctest.Wait()
		c.hold("locks", true)
		c.end("a")
		c.create("b", fabric("f"), func(s *quell.Spec) { s.OnLock = quell.OnLockFail })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, quell.StatusQueued, c.state("b").Status)
		c.hold("locks", false)
		synctest.Wait()
		require.Equal(t, []string{"a@n1", "b@n1"}, c.order())
	})
}

func TestAbortWhileWaitingForALock(t *testing.T) {
	for _, value := range []string{"graceful", "force"} {
		t.Run(value, func(t *testing.T) {
			under(t, func(t *testing.T, c *cluster, _ gauges) {
				c.join("n1", 10)
				c.create("a", fabric("f"))
				c.create("b", fabric("f"))
				c.create("c", fabric("f"))
				synctest.Wait()
				c.abort("b", value)
				synctest.Wait()
				require.Equal(t, quell.StatusAborted, c.state("b").Status)
				require.Contains(t, c.state("c").Reason, "job a", "it waits for whom there is")
				c.end("a")
				synctest.Wait()
				require.Equal(t, []string{"a@n1", "c@n1"}, c.order())
			})
		})
	}
}

// What is known of the locks is behind: the store refuses, and nothing is
// placed twice or lost.
func TestLocksBehind(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.join("n1", 10)
		c.hold("locks", true)
		c.create("a", fabric("f"))
		synctest.Wait()
		c.create("b", fabric("f"))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"a@n1"}, c.order())
		c.hold("locks", false)
		synctest.Wait()
		require.Contains(t, c.state("b").Reason, "job a")
		c.hold("locks", true)
		c.end("a")
		synctest.Wait()
		require.Equal(t, []string{"a@n1"}, c.order())
		c.hold("locks", false)
		synctest.Wait()
		require.Equal(t, []string{"a@n1", "b@n1"}, c.order())
	})
}

func TestQueueTimeout(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		limit := func(d time.Duration) func(*quell.Spec) {
			return func(s *quell.Spec) { s.QueueTimeout = quell.Duration(d) }
		}
		c.join("n1", 1)
		c.create("a", fabric("f"), limit(time.Minute))
		c.create("b", fabric("f"), limit(10*time.Minute))
		c.create("c")
		synctest.Wait()
		time.Sleep(10*time.Minute - time.Second)
		synctest.Wait()
		require.Equal(t, quell.StatusQueued, c.state("b").Status)
		time.Sleep(time.Second)
		synctest.Wait()
		s := c.state("b")
		require.Equal(t, quell.StatusFailure, s.Status)
		require.Contains(t, s.Reason, "longer than its limit of 10m0s: waits for the end of job a")
		require.Equal(t, quell.StatusStarting, c.state("a").Status, "who has been placed waits no longer")
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		require.Contains(t, c.state("c").Reason, "24h0m0s: waits for a node with room", "the limit by default")
	})
}

func TestNodeLabels(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		berlin := func(s *quell.Spec) { s.Template.NodeLabels = map[string]string{"site": "berlin", "oob": "yes"} }
		c.joinAs("n1", 10, map[string]string{"site": "berlin"})
		c.create("a", berlin)
		c.create("b")
		synctest.Wait()
		require.Equal(t, []string{"b@n1"}, c.order())
		require.Equal(t, "waits for a node with the labels oob=yes, site=berlin: none is registered, start an agent with --label", c.state("a").Reason)
		c.joinAs("n2", 1, map[string]string{"site": "berlin", "oob": "yes"})
		synctest.Wait()
		require.Equal(t, []string{"b@n1", "a@n2"}, c.order())
		c.create("c", berlin)
		synctest.Wait()
		require.Contains(t, c.state("c").Reason, "all 1 with the labels")
	})
}

// A job that cannot be read, or of which nothing is left but its active key,
// holds up nobody; one that cannot be read for now holds up no abort.
func TestUnreadableJobHoldsUpNobody(t *testing.T) {
	for _, code := range []quell.Code{quell.CodeUnsupported, quell.CodeNotFound, quell.CodeUnavailable} {
		under(t, func(t *testing.T, c *cluster, _ gauges) {
			c.onCall(func(call, id string) error {
				if call == "load" && id == "bad" {
					return quell.Errorf(code, "it cannot be read")
				}
				return nil
			})
			c.join("n1", 10)
			c.create("bad", fabric("f"))
			c.create("good", fabric("f"))
			c.create("short", fabric("f"), func(s *quell.Spec) { s.QueueTimeout = quell.Duration(time.Minute) })
			synctest.Wait()
			if code != quell.CodeUnavailable {
				require.Equal(t, []string{"good@n1"}, c.order())
				return
			}
			time.Sleep(2 * time.Minute)
			c.abort("good", "force")
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Equal(t, quell.StatusAborted, c.state("good").Status)
			require.Equal(t, quell.StatusFailure, c.state("short").Status)
		})
	}
}

// Many locks are taken as of what is known: a job that wants many waits for
// the news of a lock that was taken meanwhile, and is placed then.
func TestManyLocks(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		ids := make([]string, 100)
		for i := range ids {
			ids[i] = fmt.Sprint(i)
		}
		c.hold("locks", true)
		c.join("n1", 10)
		synctest.Wait()
		c.create("other", devices("of no interest"))
		synctest.Wait()
		c.create("many", devices(ids...))
		synctest.Wait()
		time.Sleep(5 * time.Second)
		c.hold("locks", false)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{"other@n1", "many@n1"}, c.order())
	})
}

// Whoever takes over the lead goes on with the same order.
func TestLocksAfterANewLead(t *testing.T) {
	under(t, func(t *testing.T, c *cluster, _ gauges) {
		c.join("n1", 10)
		for i := range 20 {
			c.create(fmt.Sprintf("j%02d", i), devices("1", fmt.Sprint(2+i%3)))
		}
		for i := range 20 {
			c.mu.Lock()
			c.lead()
			c.mu.Unlock()
			synctest.Wait()
			require.Equal(t, fmt.Sprintf("j%02d@n1", i), c.order()[i])
			require.Len(t, c.order(), i+1)
			c.end(fmt.Sprintf("j%02d", i))
		}
	})
}
