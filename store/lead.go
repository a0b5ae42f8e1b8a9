package store

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"quell"
)

// Lead campaigns for the lead of the scheduler and calls lead whenever it is
// won, with a context that ends with the lead. It goes on until ctx ends. who
// names the candidate: an earlier one of the same name is known to be dead,
// and its lead does not have to run out first.
func (s *Store) Lead(ctx context.Context, who string, lead func(context.Context, quell.Leader)) error {
	for ctx.Err() == nil {
		if err := s.leadOnce(ctx, who, lead); err != nil && ctx.Err() == nil {
			s.log.Warn("the campaign for the scheduler's lead broke and starts again", "error", err)
			rest(ctx, 500*time.Millisecond)
		}
	}
	return ctx.Err()
}

func (s *Store) leadOnce(ctx context.Context, who string, lead func(context.Context, quell.Leader)) error {
	lease, end, err := s.grant(ctx)
	if err != nil {
		return err
	}
	defer end()
	// The session's context is not ctx, so that the lease is kept while lead
	// winds up; its end is ours.
	sctx, cancel := context.WithCancel(s.client.Ctx())
	defer cancel()
	session, err := concurrency.NewSession(s.client, concurrency.WithLease(lease), concurrency.WithContext(sctx))
	if err != nil {
		return fmt.Errorf("keep the scheduler's lease: %w", err)
	}
	lctx, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-session.Done():
			stop()
		case <-lctx.Done():
		}
	}()
	defer func() { stop(); <-watched }()
	if err := s.endFormerLead(lctx, who); err != nil {
		return err
	}
	election := concurrency.NewElection(session, s.keys.leader())
	if err := election.Campaign(lctx, who); err != nil {
		return fmt.Errorf("campaign: %w", err)
	}
	lead(lctx, quell.Leader{Key: election.Key(), Revision: election.Rev()})
	return nil
}

// endFormerLead revokes the leases under which this candidate stood before it
// crashed.
func (s *Store) endFormerLead(ctx context.Context, who string) error {
	r, err := s.get(ctx, s.keys.leader()+"/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	for _, kv := range r.Kvs {
		if string(kv.Value) != who || kv.Lease == 0 {
			continue
		}
		revoke, cancel := context.WithTimeout(ctx, s.timeout)
		_, err := s.client.Revoke(revoke, clientv3.LeaseID(kv.Lease))
		cancel()
		if err != nil {
			s.log.Debug("the lease of a former lead was not revoked; it runs out by itself", "error", err)
		}
	}
	return nil
}
