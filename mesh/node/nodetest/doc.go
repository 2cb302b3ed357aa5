// Package nodetest is a network in memory: a router with gateways, losses and
// delays, for tests of whole nodes.
package nodetest
