package transmit

import (
	"math"
	"slices"
)

// Spacing is how the distances of frames that were sent differ from those asked for.
type Spacing struct {
	Frames int // that were compared

	// Of the errors of distances, in ns. The median, the percentile and the largest are of
	// their amounts.
	Mean, StdDev, Median, P999, Max float64

	// Frames a second from the first frame to the last.
	Asked, Achieved float64
}

// Compare compares when frames were to be sent, in ps, with when they were, in ns. It
// compares as many as both have.
func Compare(asked, sent []int64) (s Spacing) {
	n := min(len(asked), len(sent))
	if n < 2 {
		return s
	}
	s.Frames = n
	amounts := make([]float64, 0, n-1)
	var sum, squares float64
	for i := 1; i < n; i++ {
		e := float64(sent[i]-sent[i-1]) - float64(asked[i]-asked[i-1])/1e3
		sum += e
		squares += e * e
		amounts = append(amounts, math.Abs(e))
	}
	k := float64(n - 1)
	s.Mean = sum / k
	s.StdDev = math.Sqrt(max(0, squares/k-s.Mean*s.Mean))
	slices.Sort(amounts)
	s.Median = amounts[len(amounts)/2]
	s.P999 = amounts[min(len(amounts)-1, int(math.Ceil(k*0.999))-1)]
	s.Max = amounts[len(amounts)-1]
	if d := asked[n-1] - asked[0]; d > 0 {
		s.Asked = k * 1e12 / float64(d)
	}
	if d := sent[n-1] - sent[0]; d > 0 {
		s.Achieved = k * 1e9 / float64(d)
	}
	return s
}
