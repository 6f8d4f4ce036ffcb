// The Kubernetes provider of Pulumi as a plugin: what its own repository builds, without the generated schemas, which
// its Go module does not contain and the engine does not ask for.
package main

import "github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"

// Version is set by the linker to that of the SDK.
var Version string

func main() {
	provider.Serve("kubernetes", Version, []byte("{}"), []byte("{}"))
}
