package store_test

import (
	"os"
	"testing"

	"quell/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// TestContract runs the contract over the embedded etcd; with QUELL_TEST_ETCD
// over that server instead, which may be of another version.
func TestContract(t *testing.T) {
	endpoint := os.Getenv("QUELL_TEST_ETCD")
	if endpoint == "" {
		endpoint = storetest.Etcd(t).Endpoint()
	}
	storetest.Run(t, endpoint)
}
