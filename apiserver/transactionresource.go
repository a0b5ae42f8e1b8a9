package apiserver

import (
	"context"
	"net/http"

	"quell"
)

// TransactionFilter are the parameters that choose transactions.
type TransactionFilter struct {
	Status      []string `query:"status,explode" doc:"Transactions in one of these statuses; repeated, or separated by commas."`
	Fabric      string   `query:"fabric" doc:"Transactions with a job of this fabric: its fq_name joined with ':', or the last part of it."`
	Transaction string   `query:"transaction" doc:"The transaction with this id."`
	Since       string   `query:"since" doc:"Transactions whose first job was created then or later: RFC 3339, or how long ago, such as 2h."`
	Until       string   `query:"until" doc:"Transactions whose first job was created before: RFC 3339, or how long ago, such as 30m."`
	Text        string   `query:"text" doc:"Transactions with this text (in any case) in their id or description, or in what GET /v1/jobs searches of one of their jobs."`
}

type transactionsInput struct {
	Request
	TransactionFilter
	Paging
}

type transactionsOutput struct {
	Age  string `header:"X-Quell-Cache-Age" doc:"Seconds since the cache was last proved to be fresh."`
	Body transactionList
}

func (s *Server) listTransactions(ctx context.Context, in *transactionsInput) (*transactionsOutput, error) {
	query, err := in.compile(s.opts.Now())
	if err != nil {
		return nil, err
	}
	before, err := s.turnTo(ctx, in.Paging)
	if err != nil {
		return nil, err
	}
	page := s.cache.transactions(query, before, in.Limit)
	out := &transactionsOutput{Age: s.cacheAge(), Body: transactionList{Transactions: page.list, Revision: page.revision}}
	if page.more {
		out.Body.NextCursor = newCursor(page.last)
	}
	return out, nil
}

type transactionInput struct {
	Request
	ID          string `path:"id" doc:"The transaction_id."`
	MinRevision int64  `query:"min_revision" minimum:"0" doc:"Wait until the cache has reached this revision of the store."`
}

type transactionOutput struct {
	Age  string `header:"X-Quell-Cache-Age" doc:"Seconds since the cache was last proved to be fresh."`
	Body transactionDetail
}

func (s *Server) getTransaction(ctx context.Context, in *transactionInput) (*transactionOutput, error) {
	if err := s.sync(ctx, in.MinRevision); err != nil {
		return nil, err
	}
	detail, ok := s.cache.transaction(in.ID)
	if !ok {
		return nil, noTransaction(in.ID)
	}
	return &transactionOutput{Age: s.cacheAge(), Body: detail}, nil
}

func noTransaction(id string) error {
	return quell.Errorf(quell.CodeNotFound, "there is no transaction %q: GET /v1/transactions lists what there is", excerpt(id))
}

// abortTransaction aborts those of a transaction's jobs that are not final.
func (s *Server) abortTransaction(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	req, from, body, err := readBulk(w, r)
	if err == nil {
		req.intent, err = s.parseIntent(body, from)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	req.matches = func(b *summaryBody) bool { return b.TransactionID == id }
	req.check = func() error {
		if _, ok := s.cache.transaction(id); !ok {
			return noTransaction(id)
		}
		return nil
	}
	s.abortChosen(w, r, req)
}
