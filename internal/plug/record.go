package plug

import (
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"
)

var bucket = []byte("vifs") // port id -> VIF as JSON

// openRecords reads the VIFs that the agent's state file holds.
func openRecords(db *bbolt.DB) (map[string]VIF, error) {
	out := map[string]VIF{}
	err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		return b.ForEach(func(k, v []byte) error {
			var f VIF
			if err := json.Unmarshal(v, &f); err != nil {
				return fmt.Errorf("VIF of port %q: %w", k, err)
			}
			out[string(k)] = f
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read the VIFs in %s: %w", db.Path(), err)
	}
	return out, nil
}

// put and drop are for the transaction that ends an intent.
func put(v VIF) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		data, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return tx.Bucket(bucket).Put([]byte(v.PortID), data)
	}
}

func drop(v VIF) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Delete([]byte(v.PortID)) }
}
