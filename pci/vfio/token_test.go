package vfio

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/pci"
)

const token = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3"

// withToken is a function of the fake machine with a token.
func (r *rig) withToken(addr, text string) pci.Function {
	f := r.lookup(addr)
	t, err := pci.ParseVFToken(text)
	require.NoError(r.k.t, err)
	f.VFToken = &t
	return f
}

func TestFunctionsShareAToken(t *testing.T) {
	for _, form := range []form{formGroup, formIOMMUFD} {
		t.Run(form.String(), func(t *testing.T) {
			r := newRig(t)
			r.k.sriov = true
			physical, err := r.open("pf,vf_token="+token, form, r.withToken(port, token))
			require.NoError(t, err)
			require.Equal(t, "pf", physical.Name(), "the token is in no message")
			defer func() { require.NoError(t, physical.Close()) }()
			_, err = r.open("vf", form, r.lookup("0000:03:00.1"))
			require.ErrorContains(t, err, "permission denied: physical and virtual functions that vfio-pci has share a token: name the function 0000:03:00.1,vf_token=UUID")
			_, err = r.open("vf", form, r.withToken("0000:03:00.1", "00000000-5a5f-4f5a-a211-f591514ba1f3"))
			require.ErrorContains(t, err, "vf_token is not that of the physical function")
			virtual, err := r.open("vf", form, r.withToken("0000:03:00.1", token))
			require.NoError(t, err)
			require.NoError(t, virtual.Close())
		})
	}
}

func TestATokenThatTheKernelDoesNotTake(t *testing.T) {
	for _, form := range []form{formGroup, formIOMMUFD} {
		r := newRig(t)
		_, err := r.open("nic", form, r.withToken(port, token))
		require.ErrorContains(t, err, "invalid argument: leave vf_token out: the function has no virtual functions")
	}
	r := newRig(t)
	r.k.sriov, r.k.noBindToken = true, true
	_, err := r.open("nic", formIOMMUFD, r.withToken(port, token))
	require.ErrorContains(t, err, "or name it vfio-group:"+port+", if the kernel takes a token only there")
	d, err := r.open("nic", formAuto, r.withToken(port, token))
	require.NoError(t, err)
	require.Equal(t, "vfio-group", d.(*Device).Form(), "it is chosen")
	require.NoError(t, d.Close())
	r.k.noBindToken = false
	require.NoError(t, os.Remove(r.groupNode(12)))
	d, err = r.open("nic", formAuto, r.withToken(port, token))
	require.NoError(t, err)
	require.Equal(t, "vfio-iommufd", d.(*Device).Form())
	require.NoError(t, d.Close())
}
