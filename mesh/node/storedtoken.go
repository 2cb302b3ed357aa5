package node

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/state"
)

// storedTokenFile holds, until the node has joined, the join token that it joins by when
// it starts next.
const storedTokenFile = "join"

// joinTokenFile is the file in the state directory in which a founder stores its join token.
const joinTokenFile = "join-token"

// StoreToken stores c.Token in the state directory: the node joins by it when it starts
// next. Running reports that its agent runs, which has to be restarted for that.
func StoreToken(c Config) (running bool, err error) {
	switch {
	case !c.Config.Standalone():
		return false, ErrTwoClusters
	case c.Config.StateDir == config.StateMemory:
		return false, errors.New("a state directory that is in memory keeps no join token: give it to wirespan up --join")
	}
	n, err := locate(c)
	if err != nil {
		return false, err
	}
	defer n.state.Close()
	if err := n.checkLasting(); err != nil {
		return false, err
	}
	if _, err := state.CheckJoin(n.state, *c.Token); err != nil {
		return false, err
	}
	text, err := c.Token.Encode()
	if err != nil {
		return false, err
	}
	if err := n.state.LockBriefly(); errors.Is(err, state.ErrInUse) {
		running = true
	} else if err != nil {
		return false, err
	}
	return running, n.state.Replace(storedTokenFile, []byte(text+"\n"))
}

// storedToken returns the stored token, or nil if there is none.
func storedToken(st *state.Dir) (*config.Token, error) {
	data, err := st.Read(storedTokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := config.ParseToken(string(data))
	if err != nil {
		return nil, fmt.Errorf("state file %q: %w (store another token with wirespan join, or remove the file)", st.Path(storedTokenFile), err)
	}
	return &t, nil
}

// forgetFormerToken removes the join token that this node offered as the founder of a
// mesh that it is no longer in.
func (n *Node) forgetFormerToken() {
	data, err := n.state.Read(joinTokenFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		t, damaged := config.ParseToken(string(data))
		if c := n.membership.present(); damaged == nil && c != nil && c.Founder && c.Authority == t.Authority {
			return
		}
		err = n.state.Remove(joinTokenFile)
	}
	if err != nil {
		n.log.Warn("the join token of a former mesh stays", "error", err)
	}
}
