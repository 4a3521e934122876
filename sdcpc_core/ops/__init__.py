"""The operators that decide the speed: each in plain torch, its definition, beside one kernel in Triton for CUDA."""
