"""A check of the model stack on one accelerator: is it right there, and how fast is it?

    python -m bytemill.gpu_check                        # on a GPU, about eight minutes
    python -m bytemill.gpu_check --device cpu --quick   # what CI runs, so that this cannot rot

It needs the extra `lm` only, and no network; where transformers is installed, its Llama and
NanoChat models of the same shape are trained beside ours in the same process.
"""
