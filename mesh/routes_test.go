package mesh

import "testing"

// A node that routes nothing reports its routes as unrouted.
func TestNoRouting(t *testing.T) {
	in := meshOfThree()
	in.Config.NoRouting, in.Config.ForceRouting = true, true
	plan := Decide(in, testNow)
	if len(plan.Routed) != 0 || len(plan.Routes) == 0 {
		t.Errorf("routed %v, routes %v", plan.Routed, plan.Routes)
	}
	for _, r := range plan.Routes {
		if r.Path != PathUnrouted && r.Path != PathMesh {
			t.Errorf("%v is on path %s", r.Prefix, r.Path)
		}
	}
}
