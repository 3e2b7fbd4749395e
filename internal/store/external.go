package store

import (
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// connect makes a client of an external cluster. It does not wait for the cluster, unless
// a user has to be authenticated.
func connect(cfg Config) (*clientv3.Client, error) {
	tlsConfig, err := clientTLS(cfg)
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		TLS:                  tlsConfig,
		Username:             cfg.Username,
		Password:             cfg.Password,
		DialTimeout:          cfg.RequestTimeout,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		PermitWithoutStream:  true,
		MaxCallSendMsgSize:   maxRequest,
		MaxCallRecvMsgSize:   1 << 30,
		Logger:               newLogger(cfg.Log.With("part", "etcd client"), nil),
		DialOptions:          []grpc.DialOption{grpc.WithUserAgent("neutrino")},
	})
	if err != nil {
		return nil, classify("connecting to etcd at "+strings.Join(cfg.Endpoints, ","), err)
	}
	return client, nil
}

// clientTLS returns nil for plain connections. Certificates are read again for every
// connection, so renewing them needs no restart.
func clientTLS(cfg Config) (*tls.Config, error) {
	wants := cfg.TLS.set()
	for _, e := range cfg.Endpoints {
		wants = wants || strings.HasPrefix(e, "https://")
	}
	if !wants {
		return nil, nil
	}
	info := transport.TLSInfo{CertFile: cfg.TLS.CertFile, KeyFile: cfg.TLS.KeyFile, TrustedCAFile: cfg.TLS.CAFile}
	c, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("%w: TLS for etcd: %w", ErrInvalid, err)
	}
	return c, nil
}
