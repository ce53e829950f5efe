import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, OPTConfig, Qwen3Config

from cbviz.errors import CapacityError, ModelError
from cbviz.models import shapes
from cbviz.models.loaded import LoadedModel
from cbviz.models.shapes import SHAPES, random_model, random_weights

CPU = torch.device("cpu")
SMALL = {
    "llama": LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        eos_token_id=None,
    ),
    "qwen3": Qwen3Config(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        eos_token_id=None,
    ),
    "opt": OPTConfig(
        vocab_size=96,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        eos_token_id=None,
    ),
    "gpt2": GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, eos_token_id=None),
}


@pytest.mark.parametrize(
    ("shape", "parameters", "kv_bytes", "context"),
    [
        # Published counts, and bytes of KV a token in 16 bits (128, 800, 112 and 22.5 KiB).
        ("llama-3.1-8b", 8_030_261_248, 131_072, 131_072),
        ("opt-13b", 12_853_473_280, 819_200, 2048),
        ("qwen3-0.6b", 596_049_920, 114_688, 40_960),
        ("smollm2-135m", 134_515_008, 23_040, 8192),
    ],
)
def test_shapes_are_the_published_ones(shape: str, parameters: int, kv_bytes: int, context: int) -> None:
    with torch.device("meta"):
        outline = AutoModelForCausalLM.from_config(SHAPES[shape](), dtype=torch.bfloat16)
    loaded = LoadedModel(f"random:{shape}", outline, None, torch.device("meta"), torch.bfloat16)
    assert loaded.parameters == parameters
    assert loaded.weight_bytes == 2 * parameters
    assert loaded.kv_bytes_per_token == kv_bytes
    assert loaded.context_limit == context
    assert loaded.end_tokens == ()
    assert not loaded.chat


@pytest.mark.parametrize("kind", SMALL)
def test_random_weights_are_seeded_and_of_the_wanted_kind(kind: str) -> None:
    model = random_weights(SMALL[kind], kind, CPU, torch.bfloat16, seed=1)
    again = random_weights(SMALL[kind], kind, CPU, torch.bfloat16, seed=1)
    other = random_weights(SMALL[kind], kind, CPU, torch.bfloat16, seed=2)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    same = zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    for matrix in matrices:
        assert float(matrix.detach().float().std()) == pytest.approx(0.02, rel=0.3)
    for name, vector in model.named_parameters():
        if vector.dim() == 1:
            assert set(vector.tolist()) == ({0.0} if name.endswith("bias") else {1.0}), name


@pytest.mark.parametrize("kind", SMALL)
def test_random_weights_run_and_are_all_set(kind: str) -> None:
    """Buffers too: what no_init leaves unset would show as NaN or as another answer than the same weights give."""
    model = random_weights(SMALL[kind], kind, CPU, torch.float32, seed=1).eval()
    with torch.no_grad():
        logits = model(torch.tensor([[5, 6, 7, 8]])).logits
        reference = AutoModelForCausalLM.from_config(SMALL[kind]).eval()
        reference.load_state_dict(model.state_dict())
        expected = reference(torch.tensor([[5, 6, 7, 8]])).logits
    assert logits.isfinite().all()
    torch.testing.assert_close(logits, expected)


def test_tied_embeddings_stay_tied() -> None:
    model = random_weights(SMALL["llama"], "llama", CPU, torch.float32, seed=0)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_shape_that_cannot_fit_is_refused_with_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cbviz.models.device.free_bytes", lambda device: 10 * 2**30)
    with pytest.raises(CapacityError) as refused:
        random_model("llama-3.1-8b", CPU, torch.bfloat16)
    assert str(refused.value) == (
        "random:llama-3.1-8b does not fit on cpu: 8,030,261,248 parameters × 2 bytes = 15.0 GiB, and 10.0 GiB are free."
    )


def test_unknown_shapes_are_named() -> None:
    with pytest.raises(ModelError, match=r"unknown shape 'gpt-9'; 'random:' knows llama-3\.1-8b, opt-13b"):
        random_model("gpt-9", CPU, torch.float32)
    assert set(SHAPES) == {"llama-3.1-8b", "opt-13b", "qwen3-0.6b", "smollm2-135m"}
    assert shapes.SPREAD == 0.02
