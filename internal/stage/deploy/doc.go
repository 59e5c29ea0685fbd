// Package deploy is stage 9 of 9: takes in releases with their composes, models and nodes; gives out desired state and
// how far it is reached.
//
// The model of a release is compiled (package model) when its compose has finished, and again when a node joins or
// comes back with other facts. The result is a [Version], PRODUCT-N: typed resources for each node. A result equal to
// the newest version makes no new one. A broken model or a failed compose leaves the version in force, and is told in the
// product's [Deployment] and by an event.
//
// States of a version, and what moves it on:
//
//	compiled    released by people, or at once by policy (deploy.automatic, the default)
//	released    in force; the first report moves it on
//	deploying   some node is at it, or waits: for another node, or to come back
//	failed      a resource failed and nothing else is under way; agents try again, so it may still become deployed
//	deployed    every node reports every resource at its hash
//	superseded  another version is in force; final
//
// The number of a version is its epoch. It only grows: an agent refuses a lower one than it holds, the stage does
// not listen to reports about a lower one than is in force, and going back makes a new version from the old one's resources.
//
// Jobs: deploy.compile and deploy.roll have the product as key, deploy.node a node. All are reconcilers, so a crash
// anywhere is mended by running them again. Agents speak through [Service.Sync].
package deploy
