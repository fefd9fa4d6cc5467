//go:build race

package dht

func init() { racing = true }
