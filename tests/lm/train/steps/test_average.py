"""The weights' moving average: its values, who uses it, and that a run goes on with it."""

import pytest

torch = pytest.importorskip("torch")

from bytemill.lm.checkpoint.one_file import CheckpointStore, load_model
from bytemill.lm.train import Trainer, events, fit
from bytemill.lm.train.steps.average import Average
from tests.support.lm_runs import config, make_ids, make_shards, tiny_model


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def test_it_is_the_naive_average():
    model = tiny_model(tie_embeddings=True)
    average = Average(model, 0.9)
    want = {name: w.double() for name, w in weights(model).items()}
    for step in range(20):
        with torch.no_grad():
            for weight in model.parameters():
                weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
        average.update()
        for name, weight in weights(model).items():
            want[name] = 0.9 * want[name] + 0.1 * weight.double()
    before = weights(model)
    with average.applied():
        found = weights(model)
    for name, weight in want.items():
        assert (found[name] - weight).abs().max() < 1e-5
        assert (found[name] - before[name]).abs().max() > 1
        assert torch.equal(model.state_dict()[name], before[name]), "the weights are back"


def shards(folder, **changes):
    make_shards(folder)
    data = {"data": str(folder / "shards"), "tokenizer": str(folder / "tokenizer")}
    fields = {"ema": 0.7, "checkpoint_every": 2, "keep_last": 9, "eval_every": 2, **data}
    return config(folder, **{**fields, **changes})


def test_it_is_validated_and_loaded_and_the_weights_go_on(tmp_path):
    settings = shards(tmp_path, sample_every=6, sample_tokens=4)
    kept, told = [], []

    def listen(event):
        told.append(event)
        if isinstance(event, events.Stepped):
            kept.append(weights(trainer.model))

    trainer = Trainer(settings, on_event=listen)
    trainer.run()
    plain = Trainer(settings.but(ema=None, out=str(tmp_path / "plain")))
    plain.run()
    assert all(map(torch.equal, trainer.model.parameters(), plain.model.parameters()))
    begun = tiny_begin(settings)
    for made in kept:
        begun = {name: 0.7 * begun[name] + 0.3 * made[name] for name in made}
    loaded = load_model(tmp_path / "run", which="last").model
    for name, weight in loaded.named_parameters():
        assert torch.allclose(weight, begun[name], atol=1e-6)
    assert (loaded.lm_head.weight - trainer.model.lm_head.weight).abs().max() > 1e-3
    # What was validated is what is loaded: again, by itself.
    x, y = (torch.cat([torch.from_numpy(b[i]) for b in trainer._val_batches]) for i in (0, 1))
    again = loaded.loss(x, y).item()
    found = [event.loss for event in told if isinstance(event, events.Validated)]
    assert found[-1] == pytest.approx(again, rel=1e-5)
    assert abs(trainer.model.eval().loss(x, y).item() / again - 1) > 1e-4


def tiny_begin(settings):
    """The weights that a run begins with."""
    trainer = Trainer(settings.but(out=settings.run.out + "-begin", steps=1, ema=None))
    first = []

    def begin(*args, **options):
        first.append(weights(trainer.model))
        raise KeyboardInterrupt

    trainer._start = begin
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    return first[0]


def test_a_run_goes_on_to_the_same_bits(tmp_path):
    make_ids(tmp_path)
    settings = config(tmp_path, ema=0.8, steps=7)
    Trainer(settings.but(out=str(tmp_path / "straight"))).run()
    for stop_at in (2, 5, 7):
        resumed(settings, stop_at)
    files = [CheckpointStore(tmp_path / run).last().files for run in ("run", "straight")]
    assert files[0] == files[1]
    with pytest.raises(ValueError, match=r"ema was 0\.8 .* and is 0\.5 now"):
        Trainer(settings.but(ema=0.5), resume=True).run()


def resumed(settings, stop_at):
    """Goes on up to a step."""

    def listen(event):
        if isinstance(event, events.Stepped) and event.step == stop_at:
            trainer.stop()

    trainer = Trainer(settings, resume=True, on_event=listen)
    trainer.run()


def test_fit_has_it_too(tmp_path):
    def run(name, steps, **options):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        batches = [torch.randn(4, 3, generator=torch.Generator().manual_seed(n)) for n in range(3)]
        seen = []
        fit(
            model, batches, lambda m, b: m(b).square().mean(), optimizer, steps, ema=0.5,
            out=tmp_path / name, resume=True, validate=lambda: seen.append(weights(model)) or 0.0,
        )  # fmt: skip
        return weights(model), seen[-1]

    trained, validated = run("a", 4)
    run("b", 2)
    assert str(run("b", 4)) == str((trained, validated))
    saved = torch.nn.Linear(3, 1)
    CheckpointStore(tmp_path / "a").last().load_weights(saved)
    assert torch.equal(saved.weight, validated["weight"])
    assert not torch.equal(saved.weight, trained["weight"])


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_what_is_refused(decay):
    with pytest.raises(ValueError, match=f"ema={decay}: it must be at least 0 and below 1"):
        Average(torch.nn.Linear(1, 1), decay)
