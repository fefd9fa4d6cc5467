// Package extension encodes and decodes the payloads of the extension protocol
// (BEP 10): the dictionaries inside extended messages.
//
// A dictionary comes from a stranger. It is decoded behind the bounded door of
// package bencode; a value of the wrong type or out of range is taken as not
// sent, since clients in the wild send such, but a payload that is not bencode
// is an error. The package keeps no state and knows no message ids: which id
// stands for which extension is the business of package proto.
package extension
