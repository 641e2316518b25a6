"""Functions and classes that generated files contain, each only where it is needed.

They are ordinary modules, so that they can be linted and tested; `dlspec_numpy.library` copies
single definitions out of them. Inside, an array [N, C, *S] usually lies in memory with the batch
last ([C, *S, N]): rows of the batch are contiguous, which makes im2col a few long copies, needs no
transpose around the matrix product, and lets `flatten` be a view.
"""
