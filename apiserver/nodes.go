package apiserver

import "context"

type nodesInput struct {
	Request
}

type nodesOutput struct {
	Age  string `header:"X-Quell-Cache-Age" doc:"Seconds since the cache was last proved to be fresh."`
	Body nodeList
}

func (s *Server) listNodes(ctx context.Context, _ *nodesInput) (*nodesOutput, error) {
	if err := s.sync(ctx, 0); err != nil {
		return nil, err
	}
	nodes, revision := s.cache.nodeList()
	return &nodesOutput{Age: s.cacheAge(), Body: nodeList{Nodes: nodes, Revision: revision}}, nil
}
