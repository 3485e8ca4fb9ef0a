"""Records ADBench's Gaussian mixture objective and its gradient in float64, by JAX.

Writes mixture_x.npy, mixture_first.safetensors (alphas, means, inverse covariance factors, all exact in float32), and for each
Wishart prior (gamma, m) mixture_G_M.safetensors with the gradient; prints the objectives.  tests/cli/mixture.txt has them.
The objective is that of the benchmark's gmm.h, log-determinants and all: it adds the prior's term where a likelihood
would subtract it.  Needs jax, numpy, safetensors from PyPI."""

import jax
import jax.numpy as jnp
import numpy
from jax.scipy.special import logsumexp
from safetensors.numpy import save_file

jax.config.update("jax_enable_x64", True)
D, K, N = 7, 5, 40
random = numpy.random.default_rng(4)


def log_gamma_multivariate(a, p):
    return p * (p - 1) / 4 * numpy.log(numpy.pi) + sum(jax.lax.lgamma(a + 0.5 * (1 - j)) for j in range(1, p + 1))


def factor(icf):
    """The lower triangle times exp of the diagonal's logarithms; what is below the diagonal comes column by column."""
    q = jnp.diag(jnp.exp(icf[:D]))
    place = D
    for column in range(D):
        for row in range(column + 1, D):
            q = q.at[row, column].set(icf[place])
            place += 1
    return q


def objective(alphas, means, icf, x, gamma, m):
    q = jax.vmap(factor)(icf)
    logdet = icf[:, :D].sum(1)
    u = jnp.einsum("kij,nkj->nki", q, x[:, None] - means[None])
    terms = alphas + logdet - 0.5 * (u**2).sum(-1)
    likelihood = -N * D * 0.5 * numpy.log(2 * numpy.pi) + logsumexp(terms, axis=1).sum() - N * logsumexp(alphas)
    n = D + m + 1
    constant = n * D * (numpy.log(gamma) - 0.5 * numpy.log(2)) - log_gamma_multivariate(0.5 * n, D)
    prior = (0.5 * gamma**2 * (jnp.exp(icf[:, :D]) ** 2).sum() + 0.5 * gamma**2 * (icf[:, D:] ** 2).sum()) - m * logdet.sum()
    return likelihood + prior - K * constant


def exact(shape, scale):
    return (random.normal(size=shape) * scale).astype(numpy.float32)


alphas, means, icf, x = exact((K,), 1), exact((K, D), 1), exact((K, D * (D + 1) // 2), 0.5), exact((N, D), 1.5)
numpy.save("mixture_x.npy", x)
save_file({"mixture/alphas": alphas, "mixture/means": means, "mixture/icf": icf}, "mixture_first.safetensors")
for gamma, m in (1, 0), (2, 3):
    wide = [a.astype(numpy.float64) for a in (alphas, means, icf, x)]
    value, gradient = jax.value_and_grad(objective, argnums=(0, 1, 2))(*wide, float(gamma), m)
    names = "mixture/alphas", "mixture/means", "mixture/icf"
    save_file({n: numpy.asarray(g) for n, g in zip(names, gradient)}, f"mixture_{gamma}_{m}.safetensors")
    print(gamma, m, repr(float(value)))
