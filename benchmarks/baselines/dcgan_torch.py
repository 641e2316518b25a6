"""DCGAN on 64 x 64 images, as a competent PyTorch user trains it.

Both updates draw their own noise (Goodfellow et al. 2014, algorithm 1). The generator makes no
graph for the critic's update, and the critic is frozen in the generator's.
"""

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, LATENT = 32, 100


def up(in_channels, channels, stride, padding):
    return nn.Sequential(
        nn.ConvTranspose2d(in_channels, channels, 4, stride, padding, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def down(in_channels, channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 4, 2, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.2, inplace=True),
    )


def make_generator():
    return nn.Sequential(
        up(LATENT, 8 * WIDTH, 1, 0),
        up(8 * WIDTH, 4 * WIDTH, 2, 1),
        up(4 * WIDTH, 2 * WIDTH, 2, 1),
        up(2 * WIDTH, WIDTH, 2, 1),
        nn.ConvTranspose2d(WIDTH, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    )


def make_critic():
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2, inplace=True),
        down(WIDTH, 2 * WIDTH),
        down(2 * WIDTH, 4 * WIDTH),
        down(4 * WIDTH, 8 * WIDTH),
        nn.Conv2d(8 * WIDTH, 1, 4, bias=False),
        nn.Flatten(),
    )


def init(seed=0, optimizer="adam"):
    torch.manual_seed(seed)
    nets = [make().to(memory_format=torch.channels_last) for make in (make_generator, make_critic)]
    return nets, [torch.optim.Adam(n.parameters(), betas=(0.5, 0.999), fused=True) for n in nets]


def bce(logits, target):
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def noise(size):
    return torch.randn(size, LATENT, 1, 1)


def train_step(state, batch, lr):
    (generator, critic), optimizers = state
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = lr
    real = torch.from_numpy(batch["real"]).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        fake = generator(noise(len(real)))
    loss = bce(critic(real), 1.0) + bce(critic(fake), 0.0)
    optimizers[1].zero_grad(set_to_none=True)
    loss.backward()
    optimizers[1].step()

    critic.requires_grad_(False)
    optimizers[0].zero_grad(set_to_none=True)
    bce(critic(generator(noise(len(real)))), 1.0).backward()
    optimizers[0].step()
    critic.requires_grad_(True)
    return state, {"loss": loss.detach()}
