/* cost.c: in: a value; out: roughly what computing it takes.  What is kept and what is computed again is decided by this. */
#include "ir.h"

double op_cost(const Val *v) {
	switch (v->op) {
	case OpExp:
	case OpExpm1: return 12;
	case OpLog:
	case OpLog1p:
	case OpErf:
	case OpTanh: return 20;
	case OpSin:
	case OpCos:
	case OpRandom: return 30;
	case OpPow:
	case OpAtan2: return 60;
	case OpDiv:
	case OpSqrt: return 8;
	case OpGather:
	case OpIdiv:
	case OpMod:
	case OpFold: return 16;
	case OpConst:
	case OpIota:
	case OpInput: return 0;
	case OpReshape:
	case OpTranspose:
	case OpSlice:
	case OpBroadcast:
	case OpFlip:
	case OpWindow:
	case OpAgain: return 0;
	default: return 1;
	}
}
