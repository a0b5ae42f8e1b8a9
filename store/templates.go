package store

import (
	"context"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"quell"
)

// Template returns a job template and its mod revision.
func (s *Store) Template(ctx context.Context, name quell.FQName) (quell.Template, int64, error) {
	r, err := s.get(ctx, s.keys.template(name))
	if err != nil {
		return quell.Template{}, 0, err
	}
	if len(r.Kvs) == 0 {
		return quell.Template{}, 0, errNoTemplate(name)
	}
	var t quell.Template
	if err := decode(r.Kvs[0], &t); err != nil {
		return quell.Template{}, 0, err
	}
	return t, r.Kvs[0].ModRevision, nil
}

func errNoTemplate(name quell.FQName) error {
	return quell.Errorf(quell.CodeNotFound, "there is no job template %s", name)
}

// PutTemplate stores a job template, over an earlier one of its name, and
// returns the revision.
func (s *Store) PutTemplate(ctx context.Context, t quell.Template) (int64, error) {
	key := s.keys.template(t.FQName)
	value, err := encode(key, t)
	if err != nil {
		return 0, err
	}
	if len(value) > quell.MaxTemplateSize {
		return 0, quell.Errorf(quell.CodeTooLarge, "the job template %s has %d bytes: at most %d", t.FQName, len(value), quell.MaxTemplateSize)
	}
	r := s.batch.commit(ctx, transaction{then: []clientv3.Op{clientv3.OpPut(key, value)}})
	return r.revision, writeError(r.err)
}

// Templates lists the job templates, in the order of their keys. One that
// cannot be read hides no others.
func (s *Store) Templates(ctx context.Context) ([]quell.StoredTemplate, error) {
	list := []quell.StoredTemplate{}
	_, err := s.pages(ctx, s.keys.templates(), 0, func(kvs []*mvccpb.KeyValue) {
		for _, kv := range kvs {
			t := quell.StoredTemplate{Revision: kv.ModRevision}
			if err := decode(kv, &t.Template); err != nil || len(t.Template.FQName) == 0 {
				s.log.Error("a job template cannot be read and is left out", "key", string(kv.Key), "error", err)
				continue
			}
			list = append(list, t)
		}
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// DeleteTemplate deletes a job template and returns the revision of the store
// after it. Jobs have a copy of theirs.
func (s *Store) DeleteTemplate(ctx context.Context, name quell.FQName) (int64, error) {
	key := s.keys.template(name)
	r, doubt, err := s.settle(ctx, transaction{
		compares: []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), ">", 0)},
		then:     []clientv3.Op{clientv3.OpDelete(key)},
	})
	if err == nil && !r.succeeded && !doubt {
		return 0, errNoTemplate(name)
	}
	return r.revision, err
}
