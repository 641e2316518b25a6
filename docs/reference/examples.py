"""An example for each name of the reference that needs one of its own.

`inputs | expression` is the body of a model; a text with several lines is a whole spec. A built-in
without an entry is applied to its tensors, as `TENSORS` types them.
"""

from __future__ import annotations

TENSORS: dict[tuple[str, ...], str] = {
    ("x",): "x: [N, D]",
    ("x", "y"): "x: [N, D], y: [N, D]",
    ("x", "target"): "x: [N, D], target: [N, D]",
    ("x", "indices"): "x: [K, D], indices: i64[N]",
    ("logits", "label"): "logits: [N, K], label: i64[N]",
    ("first", "second"): "first: [N, D], second: [N, D]",
    ("first", "second", "target"): "first: [N], second: [N], target: [N]",
}

BATCH = "x: [N, C, H, W]"

EXAMPLES: dict[str, str] = {
    # elementwise
    "logical_not": "x: [N, D] | logical_not(x > 0)",
    "logical_xor": "x: [N, D], y: [N, D] | logical_xor(x > 0, y > 0)",
    "maximum": "x: [N, D] | x -> maximum(0)",
    "minimum": "x: [N, D] | x -> minimum(1)",
    "pow": "x: [N, D] | x -> pow(3)",
    "where": "x: [N, D], y: [N, D] | where(x > y, x, 0)",
    "clip": "x: [N, D] | x -> clip(-1, 1)",
    "cast": 'x: i64[N] | cast(x, "float") / 255',
    "hard_tanh": "x: [N, D] | x -> hard_tanh(-2, 2)",
    "leaky_relu": "x: [N, D] | x -> leaky_relu(0.2)",
    "gelu": 'x: [N, D] | x -> gelu(approximate = "tanh")',
    "softplus": "x: [N, D] | x -> softplus(beta = 2)",
    "softmax": "x: [N, K, D] | x -> softmax(axis = 1)",
    "prelu": f"{BATCH} | x -> prelu(per_channel = true)",
    "polygamma": "x: [N, D] | x -> polygamma(1)",
    "lerp": "x: [N, D], y: [N, D], weight: [] | lerp(x, y, weight)",
    "logit": "x: [N, D] | x -> logit(eps = 1e-6)",
    "nan_to_num": "x: [N, D] | x -> nan_to_num(nan = -1)",
    "threshold": "x: [N, D] | x -> threshold(0.1, value = 20)",
    "glu": "x: [N, D] | x -> glu",
    "reglu": "x: [N, D] | x -> reglu",
    "geglu": "x: [N, D] | x -> geglu",
    "swiglu": "x: [N, D] | x -> dense(64) -> swiglu -> dense(D)",
    "maxout": "x: [N, 12] | x -> maxout(3)",
    # reductions
    "sum": "x: [N, T, D] | x -> sum(axis = 1)",
    "mean": "x: [N, T, D] | x -> mean(axis = [1, 2])",
    "max": "x: [N, T, D] | x -> max(axis = 1, keepdims = true)",
    "min": "x: [N, T, D] | x -> min(axis = 1)",
    "prod": "x: [N, T, D] | x -> prod(axis = 1)",
    "logsumexp": "x: [N, T, D] | x -> logsumexp(axis = -1)",
    "all": "x: [N, D] | all(x > 0, axis = 1)",
    "any": "x: [N, D] | any(x > 0, axis = 1)",
    "var": "x: [N, D] | x -> var(axis = 1, correction = 0) where D >= 2",
    "std": "x: [N, D] | x -> std(axis = 1) where D >= 2",
    "cumsum": "x: [N, T, D] | x -> cumsum(axis = 1, reverse = true)",
    "cummax": "x: [N, T, D] | x -> cummax(axis = 1)",
    "quantile": "x: [N, D] | x -> quantile(0.9)",
    "searchsorted": "order: [K], values: [N, D] | searchsorted(order, values)",
    "bucketize": "x: [N, D], boundaries: [K] | bucketize(x, boundaries)",
    "cdist": "x: [N, P, D], y: [N, R, D] | cdist(x, y, p = 1)",
    "norm": "x: [N, D] | x -> norm(axis = 1, p = 1)",
    "normalize": "x: [N, D] | x -> normalize",
    # shapes
    "unflatten": "x: [N, D] | x -> unflatten(1, [2, -1])",
    "reshape": "x: [N, D] | x -> reshape([N, 2, D // 2]) where D % 2 == 0",
    "flatten": f"{BATCH} | x -> flatten",
    "transpose": f"{BATCH} | x -> transpose(0, 2, 3, 1)",
    "unsqueeze": "x: [N, D] | x -> unsqueeze(1)",
    "squeeze": "x: [N, 1, D] | x -> squeeze(1)",
    "concat": "x: [N, D], y: [N, E] | concat(x, y, axis = 1)",
    "stack": "x: [N, D], y: [N, D] | stack(x, y, axis = 1)",
    "split": "model Halves(x: [N, 8]) {\n  a, b = x -> split(2)\n  return a * sigmoid(b)\n}\n",
    "broadcast_to": "x: [1, D] | x -> broadcast_to([4, D])",
    "flip": f"{BATCH} | x -> flip(axis = [-2, -1])",
    "center_crop": f"{BATCH} | x -> center_crop(H // 2, W // 2) where H >= 2 and W >= 2",
    "arange": 'x: [N, T] | x + cast(arange(T), "float")',
    "zeros": "x: [N, D] | concat(x, zeros([N, 1]), axis = 1)",
    "ones": "x: [N, D] | concat(x, ones([N, 1]), axis = 1)",
    "full": "x: [N, D] | concat(x, full([N, 1], 0.5), axis = 1)",
    "eye": "x: [N, D] | x @ eye(D)",
    "linspace": "x: [N, 5] | x * linspace(0, 1, 5)",
    "causal_mask": "x: [N, T, T] | where(causal_mask(T), x, 0)",
    "tril": "x: [N, T, T] | x -> tril(diagonal = -1)",
    "triu": "x: [N, T, T] | x -> triu(diagonal = 1)",
    "roll": "x: [N, T, D] | x -> roll(1, axis = 1) where T >= 2",
    "tile": "x: [N, D] | x -> tile([1, 3])",
    "repeat_interleave": "x: [N, D] | x -> repeat_interleave(2, axis = 1)",
    "unbind": "model Sum(x: [3, N, D]) {\n  a, b, c = unbind(x)\n  return a + b * c\n}\n",
    "chunk": "model Parts(x: [N, 7]) {\n  a, b = x -> chunk(2)\n  return concat(b, a)\n}\n",
    "expand": "x: [N, 1] | x -> expand([-1, 4])",
    "swapaxes": "x: [N, T, D] | x -> swapaxes(1, 2)",
    "moveaxis": f"{BATCH} | x -> moveaxis(1, -1)",
    "diagonal": "x: [N, D, D] | x -> diagonal",
    "trace": "x: [N, D, D] | x -> trace",
    "outer": "x: [N, D], y: [N, E] | outer(x, y)",
    "rearrange": 'x: [N, T, 12] | x -> rearrange("n t (h d) -> n h t d", h = 3)',
    "reduce": f'{BATCH} | x -> reduce("n c h w -> n c", "mean")',
    "repeat": 'x: [N, D] | x -> repeat("n d -> n t d", t = 5)',
    "sort": "x: [N, D] | x -> sort(descending = true)",
    "topk": "model Best(x: [N, 9]) {\n  best = x -> topk(3)\n  return best.values\n}\n",
    # products and layers
    "dense": "x: [N, D] | x -> dense(10)",
    "bilinear": "x: [N, D], y: [N, E] | bilinear(x, y, 10)",
    "matmul": "x: [N, T, D], y: [N, D, E] | x @ y",
    "einsum": 'x: [N, T, D], y: [N, S, D] | einsum("ntd,nsd->nts", x, y)',
    "attention": "q: [N, H, T, D], k: [N, H, S, D], v: [N, H, S, D] | attention(q, k, v)",
    "sinusoidal_positions": "x: [N, T, 16] | x + sinusoidal_positions(T, 16)",
    "rotary": "x: [N, H, T, 16] | x -> rotary",
    "alibi": "q: [N, 4, T, D] | attention(q, q, q, bias = alibi(4, T))",
    "cosine_similarity": "x: [N, D], y: [N, D] | cosine_similarity(x, y)",
    "quantize": "model Codes(x: [N, D], K = 16) {\n  book = param([K, D], init = normal)\n"
    "  return quantize(x, book).codes\n}\n",
    "straight_through": "x: [N, D] | straight_through(round(x), x)",
    "conv": "x: [N, 3, H, W] | x -> conv(16, 3, stride = 2, padding = 1)",
    "convolve": "x: [N, 3, H, W], w: [8, 3, 5, 5] | convolve(x, w, padding = 2)",
    "conv_transpose": "x: [N, 8, H, W] | x -> conv_transpose(4, 4, stride = 2, padding = 1)",
    "pad": 'x: [N, C, H, W] | x -> pad([0, 0, 1, (0, 2)], mode = "replicate")',
    "resize": f'{BATCH} | x -> resize(size = (32, 32), mode = "bicubic")',
    "upsample": f"{BATCH} | x -> upsample(2)",
    "adaptive_avg_pool": f"{BATCH} | x -> adaptive_avg_pool(1)",
    "adaptive_max_pool": "x: [N, C, 8, 8] | x -> adaptive_max_pool(4)",
    "pixel_shuffle": "x: [N, 12, H, W] | x -> pixel_shuffle(2)",
    "pixel_unshuffle": "x: [N, 3, 8, 8] | x -> pixel_unshuffle(2)",
    "max_pool": "x: [N, C, 32, 32] | x -> max_pool(3, stride = 2, padding = 1)",
    "avg_pool": "x: [N, C, 32, 32] | x -> avg_pool(2)",
    "lp_pool": "x: [N, C, 32, 32] | x -> lp_pool(2, 2)",
    "global_avg_pool": f"{BATCH} | x -> global_avg_pool",
    "global_max_pool": f"{BATCH} | x -> global_max_pool",
    "local_response_norm": f"{BATCH} | x -> local_response_norm(5)",
    "pixel_norm": f"{BATCH} | x -> pixel_norm",
    "minibatch_std": f"{BATCH} | x -> minibatch_std",
    "batch_norm": f"{BATCH} | x -> batch_norm",
    "group_norm": "x: [N, 8, H, W] | x -> group_norm(4)",
    "instance_norm": f"{BATCH} | x -> instance_norm",
    "lstm": "x: [N, T, D] | x -> lstm(16, bidirectional = true)",
    "gru": "x: [N, T, D] | x -> gru(16, layers = 2)",
    "rnn": "x: [N, T, D] | x -> rnn(16)",
    "unfold": f"{BATCH} | x -> unfold(3, padding = 1)",
    "fold": "x: [N, 12, 16] | x -> fold(8, 2, stride = 2)",
    "channel_shuffle": "x: [N, 6, H, W] | x -> channel_shuffle(3)",
    "affine_grid": "theta: [N, 2, 3] | affine_grid(theta, (8, 8))",
    "grid_sample": f"{BATCH}, grid: [N, P, Q, 2] | grid_sample(x, grid)",
    # randomness
    "dropout1d": "x: [N, C, T] | x -> dropout1d(0.2)",
    "dropout2d": f"{BATCH} | x -> dropout2d(0.2)",
    "dropout3d": "x: [N, C, Z, H, W] | x -> dropout3d(0.2)",
    "feature_alpha_dropout": f"{BATCH} | x -> feature_alpha_dropout(0.2)",
    "gaussian_noise": "x: [N, D] | x -> gaussian_noise(0.1)",
    "bernoulli": "x: [N, D] | x * bernoulli([N, D], p = 0.9)",
    "gumbel": "x: [N, D] | x + gumbel([N, D])",
    "normal": "x: [N, D] | x + normal([N, D], std = 0.1)",
    "uniform": "x: [N, D] | x + uniform([N, D], low = -1)",
    # indices
    "embedding": "x: i64[N, T] | x -> embedding(1000, 64)",
    "one_hot": "x: i64[N] | x -> one_hot(10)",
    "take_along": "x: [N, D], indices: i64[N, 1] | take_along(x, indices)",
    "gather": "x: [N, D], indices: i64[N, 1] | gather(x, indices)",
    "scatter_add": "x: [N, D], indices: i64[N, 1], y: [N, 1] | scatter_add(x, indices, y)",
    "index_add": "x: [K, D], indices: i64[N], y: [N, D] | index_add(x, indices, y)",
    "masked_fill": "x: [N, D], mask: bool[N, D] | masked_fill(x, mask, -inf)",
    # losses and metrics
    "nll": "x: [N, K], label: i64[N] | nll(log_softmax(x), label)",
    "bce": "x: [N, D], target: [N, D] | bce(sigmoid(x), target)",
    "cross_entropy": "logits: [N, K], label: i64[N] | cross_entropy(logits, label, ignore = 0)",
    "gaussian_nll": "x: [N, D], target: [N, D], var: [N, D] | gaussian_nll(x, target, exp(var))",
    "kl_divergence": "x: [N, K], target: [N, K] | kl_divergence(log_softmax(x), target)",
    "gaussian_kl": "mu: [N, D], logvar: [N, D] | gaussian_kl(mu, logvar)",
    "total_variation": f"{BATCH} | total_variation(x) where H >= 2 and W >= 2",
    "multi_margin": "x: [N, K], label: i64[N] | multi_margin(x, label)",
    "multilabel_margin": "x: [N, K], target: bool[N, K] | multilabel_margin(x, target)",
    "hinge_embedding": "x: [N], target: [N] | hinge_embedding(x, target)",
    "contrastive": "x: [N], target: [N] | contrastive(x, target)",
    "triplet_margin": "a: [N, D], p: [N, D], n: [N, D] | triplet_margin(a, p, n)",
    "cosine_embedding": "x: [N, D], y: [N, D], target: [N] | cosine_embedding(x, y, target)",
    "binary_accuracy": "x: [N], label: [N] | binary_accuracy(x, label)",
    "top_k_accuracy": "logits: [N, K], label: i64[N] | top_k_accuracy(logits, label, k = 3)",
    "psnr": f"{BATCH}, y: [N, C, H, W] | psnr(x, y)",
    "ssim": "x: [N, C, 32, 32], y: [N, C, 32, 32] | ssim(x, y)",
    "bleu": """model Words(x: [N, 4]) -> [N, 3] = x -> dense(3)

train fit {
  data (x, label) from iris(batch = 10)
  logits = Words(x)
  minimize cross_entropy(logits, label) using sgd(0.1)
  report bleu(argmax(logits) -> unsqueeze(1), label -> unsqueeze(1))
  epochs 1
}
""",
    "span_f1": """model Tagger(words: i64[N, T]) = words -> embedding(128, 16) -> dense(5)

train fit {
  data (words, tags) from reversed_digits(batch = 10, length = 4)
  logits = Tagger(words)
  minimize cross_entropy(logits, tags[:, 1:] % 5) using sgd(0.1)
  report span_f1(logits, tags[:, 1:] % 5)
  epochs 1
}
""",
    "update": """model Centred(x: [N, 4], keep = 0.9) {
  centre = buffer([4], init = zeros)
  return x - update(centre, keep * centre + (1 - keep) * mean(x, axis = 0))
}
""",
    "grad": "x: [N, D] | grad(sum(x * x * x), x)",
}

# metrics that stand in `report`: of scores for two classes, of predicted numbers
SCORES = ("auc", "average_precision")
NUMBERS = ("r2", "correlation")
CLASSES = ("precision", "recall", "f1", "mean_iou", "mean_dice", "confusion_matrix")

REPORT = """model Classes(x: [N, 4]) -> [N, 3] = x -> dense(3)

train fit {{
  data (x, label) from iris(batch = 10)
  logits = Classes(x)
  minimize cross_entropy(logits, label) using sgd(0.1)
  report {said}
  epochs 1
}}
"""
NUMBER = """model Number(x: [N, 10]) -> [N, 1] = x -> dense(1)

train fit {{
  data (x, y) from diabetes(batch = 10)
  guess = Number(x)
  minimize mse(guess, y) using {optimizer}
  report {said}
  epochs 1
}}
"""
SIDES = """model Scores(x: [N, 30]) -> [N, 1] = x -> dense(1)

train fit {{
  data (x, label) from breast_cancer(batch = 10)
  score = Scores(x) -> squeeze(1)
  minimize bce_with_logits(score, cast(label, "float")) using sgd(0.1)
  report {said}
  epochs 1
}}
"""

EXAMPLES |= {name: REPORT.format(said=f"{name}(logits, label)") for name in CLASSES}
EXAMPLES |= {name: SIDES.format(said=f"{name}(score, label)") for name in SCORES}
EXAMPLES |= {
    name: NUMBER.format(optimizer="sgd(0.1)", said=f"{name}(guess, y)") for name in NUMBERS
}

OPTIMIZERS: dict[str, str] = {
    "sgd": "sgd(0.1, momentum = 0.9, nesterov = true)",
    "adamw": "adamw(1e-3, weight_decay = 0.1)",
}

SCHEDULES: dict[str, str] = {
    "constant": "constant(0.1)",
    "step_decay": "step_decay(0.1, 0.5, every = 2)",
    "exponential": "exponential(0.1, 0.9)",
    "cosine": "cosine(0.1, warmup = 10)",
    "linear": "linear(0.1, 0.01)",
    "linear_warmup": "linear_warmup(0.1, 10)",
    "noam": "noam(512)",
    "multi_step": "multi_step(0.1, 0.1, [2, 4])",
    "polynomial": "polynomial(0.1, power = 2)",
    "cosine_restarts": "cosine_restarts(0.1, 10, grow = 2)",
    "one_cycle": "one_cycle(0.1)",
    "plateau": "plateau(0.1, patience = 2)",
}

STD: dict[str, str] = {
    "attention.MultiHead": "x: [N, T, 16] | x -> MultiHead(4)",
    "attention.Additive": "q: [N, T, D], k: [N, S, E] | Additive(q, k, 8).context",
    "attention.Multiplicative": "q: [N, T, D], k: [N, S, E] | Multiplicative(q, k).context",
    "attention.Dot": "q: [N, T, D], k: [N, S, D] | Dot(q, k).context",
    "attention.Shares": "x: [N, T, S] | Shares(x)",
    "blocks.ConvNorm": "x: [N, 3, H, W] | x -> ConvNorm(16, 3)",
    "blocks.Residual": "x: [N, D] | x -> Residual(dense(D) -> relu)",
    "blocks.FeedForward": "x: [N, T, D] | x -> FeedForward(act = gelu)",
    "decoding.Row": "logits: [N, M, V], at: i64[N] | Row(logits, at)",
    "decoding.Put": "tokens: i64[N, M], token: i64[N], at: i64[N] | Put(tokens, token, at)",
    "decoding.Greedy": """\
block Net(tokens: i64[N, T]) = tokens -> embedding(30, 16) -> dense(30)
model Example(at: i64[N, T], tokens: i64[N, M], over: bool[N]) =
  at -> scan(Greedy(Net, tokens = tokens, over = over))
""",
    "decoding.Sample": """\
block Net(tokens: i64[N, T]) = tokens -> embedding(30, 16) -> dense(30)
model Example(at: i64[N, T], draw: [N, T], tokens: i64[N, M], over: bool[N]) =
  (at, draw) -> scan(Sample(Net, top_k = 5, tokens = tokens, over = over))
""",
    "decoding.Beam": """\
block Net(tokens: i64[N, T]) = tokens -> embedding(30, 16) -> dense(30)
model Example(at: i64[N, T], tokens: i64[N, 4, M], score: [N, 4], over: bool[N, 4]) =
  at -> scan(Beam(Net, tokens = tokens, score = score, over = over))
""",
    "image.DepthwiseConv": "x: [N, C, H, W] | x -> DepthwiseConv(3)",
    "image.SeparableConv": "x: [N, C, H, W] | x -> SeparableConv(16, 3)",
    "image.Overlay": "image: [N, 3, H, W], mask: [N, H, W] | Overlay(image, mask)",
    "image.EqualConv": "x: [N, C, H, W] | x -> EqualConv(16, 3, padding = 1)",
    "image.EqualDense": "x: [N, D] | x -> EqualDense(10)",
    "image.WeightNormConv": "x: [N, C, H, W] | x -> WeightNormConv(16, 3, padding = 1)",
    "image.WeightNormDense": "x: [N, D] | x -> WeightNormDense(10)",
    "image.SpectralNorm": "model Normed(x: [N, 8]) {\n  w = param([4, 8], init = he_normal)\n"
    "  return x @ transpose(SpectralNorm(w))\n}\n",
    "image.SpectralConv": "x: [N, C, H, W] | x -> SpectralConv(16, 3, padding = 1)",
    "image.SpectralDense": "x: [N, D] | x -> SpectralDense(10)",
    "losses.CTCStep": "model Ways(x: [N, T, C], labels: i64[N, 5], skips: bool[N, 5], w: [N, 5])"
    " {\n"
    "  _, ways = log_softmax(x)\n"
    "    -> scan(CTCStep(labels = labels, skips = skips, ways = w), final = true)\n"
    "  return ways\n}\n",
    "losses.CTC": "x: [N, T, C], labels: i64[N, S], frames: i64[N], lengths: i64[N] | "
    "CTC(x, labels, frames, lengths)",
    "position.Sinusoidal": "x: [N, T, 16] | x -> Sinusoidal",
    "position.Learned": "x: [N, 20, 16] | x -> Learned(100)",
    "position.RelativeBias": "q: [N, 4, T, 8], x: [N, T, 32] | "
    "attention(q, q, q, bias = RelativeBias(x, x, 4))",
    "quantise.VectorQuantizer": "x: [N, D] | VectorQuantizer(x, 16).quantized",
    "recurrent.RNN": "x: [N, T, D] | x -> scan(RNN(16))",
    "recurrent.LSTM": "x: [N, T, D] | x -> scan(LSTM(16))",
    "recurrent.GRU": "x: [N, T, D] | x -> bidirectional(GRU(16))",
    "transformer.Sublayer": "x: [N, T, D] | Sublayer(x, dense(D))",
    "transformer.FeedForward": "x: [N, T, D] | x -> FeedForward(p = 0)",
    "transformer.EncoderLayer": "x: [N, S, 16] | x -> repeat(2, EncoderLayer(heads = 4))",
    "transformer.DecoderLayer": "x: [N, T, 16], m: [N, S, 16] | x -> DecoderLayer(m, heads = 4)",
}
