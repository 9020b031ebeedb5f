"""The tables and figures of Chakraborty et al. 2022 in the paper's own form."""
