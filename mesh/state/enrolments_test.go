package state

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

var (
	tokenTime = time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	tokenPin  = [32]byte{7}
)

func enroller(n byte) mesh.NodeKey { return mesh.NewNodeKey([32]byte{n}) }

// Who may join, and who may not.
func TestEnrol(t *testing.T) {
	st := openState(t, t.TempDir())
	e := must(OpenEnrolments(st))
	id, key, expires, err := e.Issue(TokenSpec{Uses: 2, Lifetime: time.Hour}, tokenTime)
	if err != nil || !expires.Equal(tokenTime.Add(time.Hour)) {
		t.Fatalf("Issue: expires %v, %v", expires, err)
	}
	ask := func(n byte) mesh.Enrolment { return mesh.NewEnrolment(id, key, enroller(n), tokenPin) }
	forged := ask(1)
	forged.NodeID = enroller(2).NodeID()
	soon := tokenTime.Add(time.Minute)
	for _, test := range []struct {
		name string
		r    mesh.Enrolment
		now  time.Time
		want string // in the refusal; empty: admitted
	}{
		{"another key", mesh.NewEnrolment(id, mesh.NewSecret([32]byte{9}), enroller(1), tokenPin), soon, "does not know this join token"},
		{"another token", mesh.NewEnrolment(mesh.EnrolmentID{9}, key, enroller(1), tokenPin), soon, "does not know this join token"},
		{"another server", mesh.NewEnrolment(id, key, enroller(1), [32]byte{8}), soon, "not signed by the node for this server"},
		{"signed by another node", forged, soon, "not signed by the node for this server"},
		{"one node", ask(1), soon, ""},
		{"the same node again", ask(1), soon, ""},
		{"a clock that was put back", ask(2), tokenTime.Add(-time.Hour), "the founder's clock is wrong, or was: it says 2026-01-02 14:04:05 UTC"},
		{"a clock that is a little behind", ask(2), tokenTime.Add(-time.Minute), ""},
		{"a third node", ask(3), soon, "the join token is used up: it was for 2, which have joined"},
		{"a node that has joined", ask(2), soon, ""},
		{"late", ask(1), expires, "the join token expired at 2026-01-02 16:04:05 UTC, by the founder's clock it is 2026-01-02 16:04:05 UTC now"},
		{"very late, another key", mesh.NewEnrolment(id, mesh.NewSecret([32]byte{9}), enroller(1), tokenPin), expires, "does not know"},
	} {
		err := e.Enrol(test.r, tokenPin, test.now)
		refusal, refused := errors.AsType[Refusal](err)
		if test.want == "" && err != nil || test.want != "" && (!refused || !strings.Contains(string(refusal), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		e = must(OpenEnrolments(st)) // all is stored
	}
	secret := key.Reveal()
	text, _ := json.Marshal(secret[:])
	data, err := os.ReadFile(st.Path(EnrolmentsFile))
	if err != nil || strings.Contains(string(data), strings.Trim(string(text), `"`)) {
		t.Errorf("the file holds the key, or: %v", err)
	}
	if info, err := os.Stat(st.Path(EnrolmentsFile)); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// What can't be stored is not answered, and uses up nothing.
func TestEnrolStoresFirst(t *testing.T) {
	dir := t.TempDir()
	st := openState(t, dir)
	e := must(OpenEnrolments(st))
	id, key, _, err := e.Issue(TokenSpec{Uses: 1, Lifetime: time.Hour}, tokenTime)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	err = e.Enrol(mesh.NewEnrolment(id, key, enroller(1), tokenPin), tokenPin, tokenTime)
	if _, refused := errors.AsType[Refusal](err); err == nil || refused {
		t.Errorf("without a state directory: %v", err)
	}
	if _, _, _, err := e.Issue(TokenSpec{Uses: 1, Lifetime: time.Hour}, tokenTime); err == nil {
		t.Error("a token is issued without a state directory")
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if err := e.Enrol(mesh.NewEnrolment(id, key, enroller(2), tokenPin), tokenPin, tokenTime); err != nil {
		t.Errorf("another node, with the directory back: %v", err)
	}
}

func TestIssueIsBounded(t *testing.T) {
	e := must(OpenEnrolments(must(Open("memory", nil))))
	for _, s := range []TokenSpec{
		{Uses: 0, Lifetime: time.Hour},
		{Uses: MaxTokenUses + 1, Lifetime: time.Hour},
		{Uses: 1, Lifetime: time.Second},
		{Uses: 1, Lifetime: MaxTokenLifetime + 1},
	} {
		if _, _, _, err := e.Issue(s, tokenTime); err == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
	var first mesh.EnrolmentID
	for i := range maxTokens {
		id, _, _, err := e.Issue(TokenSpec{Uses: 1, Lifetime: time.Hour}, tokenTime)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = id
		}
	}
	if _, _, _, err := e.Issue(TokenSpec{Uses: 1, Lifetime: time.Hour}, tokenTime); err == nil {
		t.Errorf("more than %d tokens are valid", maxTokens)
	}
	var renewed []mesh.EnrolmentID
	for range 2 * maxRenewed {
		id, _, _, err := e.Issue(TokenSpec{Uses: 1, Lifetime: 2 * time.Hour, Renewed: true}, tokenTime)
		if err != nil {
			t.Fatal(err)
		}
		renewed = append(renewed, id)
	}
	if e.Left(renewed[0], tokenTime) != 0 || e.Left(renewed[maxRenewed], tokenTime) != 2*time.Hour || e.Left(first, tokenTime) != time.Hour {
		t.Error("not the oldest token of those that are renewed has ended")
	}
	later := tokenTime.Add(time.Hour)
	if e.Left(first, tokenTime.AddDate(-10, 0, 0)) != 0 {
		t.Error("a token of a clock that was ahead is offered")
	}
	if e.Left(first, later) != 0 {
		t.Error("an expired token is valid")
	}
	for range maxTokens {
		if _, _, _, err := e.Issue(TokenSpec{Uses: 1, Lifetime: time.Minute}, later); err != nil {
			t.Fatal(err)
		}
		later = later.Add(time.Hour)
	}
	if n := len(e.Tokens); n > maxTokens+maxRenewed+maxSpent {
		t.Errorf("%d tokens are remembered", n)
	}
}

// A damaged record ends all tokens, and nothing else.
func TestDamagedEnrolments(t *testing.T) {
	st := must(Open("memory", nil))
	e := must(OpenEnrolments(st))
	id, key, _, err := e.Issue(TokenSpec{Uses: 1, Lifetime: time.Hour}, tokenTime)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Replace(EnrolmentsFile, []byte(`[{"ID":`)); err != nil {
		t.Fatal(err)
	}
	e = must(OpenEnrolments(st))
	if err := e.Enrol(mesh.NewEnrolment(id, key, enroller(1), tokenPin), tokenPin, tokenTime); err == nil {
		t.Error("an unknown token is accepted")
	}
	if _, _, _, err := e.Issue(TokenSpec{Uses: 1, Lifetime: time.Hour}, tokenTime); err != nil {
		t.Error(err)
	}
}

// A member gets the newest secret by its signature, until it is expelled. Then it can't
// join with a token either.
func TestRenewAndExpel(t *testing.T) {
	st := must(Open("memory", nil))
	e := must(OpenEnrolments(st))
	id, key, _, err := e.Issue(TokenSpec{Uses: 3, Lifetime: time.Hour}, tokenTime)
	if err != nil {
		t.Fatal(err)
	}
	pin := [32]byte{7}
	member, stranger := mesh.NewNodeKey([32]byte{1}), mesh.NewNodeKey([32]byte{2})
	join := func(k mesh.NodeKey) error { return e.Enrol(mesh.NewEnrolment(id, key, k, pin), pin, tokenTime) }
	renew := func(k mesh.NodeKey) error {
		return e.Renew(mesh.NewEnrolment(mesh.EnrolmentID{}, mesh.Secret{}, k, pin), pin)
	}
	if err := join(member); err != nil {
		t.Fatal(err)
	}
	later := tokenTime.Add(2 * MaxTokenLifetime) // the token is forgotten, the member is not
	if _, _, _, err := e.Issue(TokenSpec{Uses: 1, Lifetime: time.Hour}, later); err != nil {
		t.Fatal(err)
	}
	e = must(OpenEnrolments(st))
	if err := renew(member); err != nil {
		t.Errorf("a member: %v", err)
	}
	if err := renew(stranger); err == nil || !strings.Contains(err.Error(), "wirespan token, on the founder") {
		t.Errorf("a stranger: %v", err)
	}
	forged := mesh.NewEnrolment(mesh.EnrolmentID{}, mesh.Secret{}, stranger, pin)
	forged.NodeID = member.NodeID()
	if err := e.Renew(forged, pin); err == nil {
		t.Error("a stranger renews as the member")
	}

	d := must(mesh.DigestNodeID(member.NodeID()))
	for range 2 {
		if err := e.Expel([]mesh.NodeDigest{d}); err != nil {
			t.Fatal(err)
		}
	}
	e = must(OpenEnrolments(st))
	if err := join(mesh.NewNodeKey([32]byte{3})); err == nil { // which the expelled node may have made
		t.Error("a new node joins with the token of an expelled one")
	}
	if len(e.Expelled) != 1 || len(e.Members) != 0 {
		t.Errorf("members %q, expelled %v", e.Members, e.Expelled)
	}
	if err := renew(member); err == nil || !strings.Contains(err.Error(), "expelled") {
		t.Errorf("an expelled node: %v", err)
	}
	id, key, _, err = e.Issue(TokenSpec{Uses: 3, Lifetime: time.Hour}, tokenTime)
	if err != nil {
		t.Fatal(err)
	}
	if err := join(member); err == nil || !strings.Contains(err.Error(), "expelled") {
		t.Errorf("an expelled node joins: %v", err)
	}
	if err := join(stranger); err != nil {
		t.Errorf("another node: %v", err)
	}
	if err := e.EndTokens(); err != nil {
		t.Fatal(err)
	}
	if err := join(mesh.NewNodeKey([32]byte{4})); err == nil {
		t.Error("a node joins with a token that has ended")
	}
}
