package storetest

import "testing"

// Run demands of a Store on the etcd at endpoint all that design.md and the
// comments of package store promise.
func Run(t *testing.T, endpoint string) {
	for _, c := range []struct {
		name string
		test func(*testing.T, string)
	}{
		{"CreateJob", testCreate},
		{"Sizes", testSizes},
		{"CommitCompares", testCommitCompares},
		{"CommitWithoutIntents", testCommitWithoutIntents},
		{"AssignCompares", testAssignCompares},
		{"QueuedByDeposed", testQueuedByDeposed},
		{"Final", testFinal},
		{"PutIntent", testPutIntent},
		{"PutIntentRefused", testPutIntentRefused},
		{"PutIntentConcurrently", testPutIntentConcurrently},
		{"AbortAllBound", testAbortAllBound},
		{"FollowAborts", testFollowAborts},
		{"Star", testStar},
		{"StarUnseen", testStarUnseen},
		{"FollowIntent", testFollowIntent},
		{"Templates", testTemplates},
		{"Jobs", testJobs},
		{"ManyJobs", testManyJobs},
		{"OddNames", testOddNames},
		{"Prefixes", testPrefixes},
		{"NewerFormat", testNewerFormat},
		{"WaitFinal", testWaitFinal},
		{"FollowMaps", testFollowMaps},
		{"FollowChanges", testFollowChanges},
		{"ChangesCut", testChangesCut},
		{"ChangesCompacted", testChangesCompacted},
		{"ChangesPages", testChangesPages},
		{"Locks", testLocks},
		{"LocksFit", testLocksFit},
		{"TakeLocks", testTakeLocks},
		{"FollowLocks", testFollowLocks},
		{"Resume", testResume},
		{"Withdraw", testWithdraw},
		{"TemplateList", testTemplateList},
		{"Register", testRegister},
		{"RegisterAgain", testRegisterAgain},
		{"Lead", testLead},
		{"Partition", testPartition},
		{"Batches", testBatches},
		{"Rivals", testRivals},
		{"NoSkew", testNoSkew},
		{"UnevenBatch", testUnevenBatch},
		{"LostAnswers", testLostAnswers},
		{"LostAbortAll", testLostAbortAll},
		{"LostRequests", testLostRequests},
		{"Unreachable", testUnreachable},
		{"CutWatches", testCutWatches},
		{"PausedWatch", testPausedWatch},
		{"NeverReached", testNeverReached},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, endpoint)
		})
	}
}
