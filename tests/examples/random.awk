# The random numbers of the generators beside this file: a generator of Park and Miller's kind, so that every awk writes the same
# files.  To be read before one of them: awk -f tests/examples/random.awk -f tests/examples/NAME.awk
BEGIN { state = 2026 }
function uniform() { state = (state * 16807) % 2147483647; return state / 2147483647 }
# Two of mean 0 and deviation 1: the sum of twelve, and Box and Muller's.
function normal() { return uniform() + uniform() + uniform() + uniform() + uniform() + uniform() + uniform() + uniform() \
	+ uniform() + uniform() + uniform() + uniform() - 6 }
function gauss() { return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()) }
