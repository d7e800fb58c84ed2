"""Tiny random pipelines of the real classes of ``diffusers``, saved as users have them.

Each function writes a folder that the real code loads back; the libraries are imported
inside, because that costs seconds.
"""

import importlib
from pathlib import Path
from typing import Any, Final

from safegen.generation.diffusers_models.loading import diffusers, quiet
from tests.safegen.generation.tiny_checkpoints import save_tokenizer, tiny_t5

SAMPLE_RATE: Final = 8000
TEXT_WIDTH: Final = 24


def parts_of(pipeline: str) -> Any:
    """Import what lives beside a pipeline."""
    return importlib.import_module(f"diffusers.pipelines.{pipeline}")


def text_parts(folder: Path) -> dict[str, Any]:
    """Build a tokenizer of whole words and a T5 encoder that knows them."""
    import transformers

    words = save_tokenizer(folder / "tokenizer")
    config = transformers.T5Config(**tiny_t5(words))
    return {
        "tokenizer": transformers.AutoTokenizer.from_pretrained(
            folder / "tokenizer", model_max_length=16
        ),
        "text_encoder": transformers.T5EncoderModel(config),
    }


def faithful(vae: Any) -> None:
    """Let a random Oobleck autoencoder hear: latents that follow the sound and hardly vary."""
    import torch

    latents = vae.config.decoder_input_channels
    with torch.no_grad():
        vae.encoder.conv2.weight_g[:latents] *= 50.0
        vae.encoder.conv2.weight_g[latents:] *= 0.01
        vae.encoder.conv2.bias[latents:] = -10.0
        vae.decoder.conv1.weight_g *= 3.0


def save_stable_audio(folder: Path) -> Path:
    """Save a Stable Audio Open of 4.096 s in mono; its scheduler is the published one."""
    import torch

    library = diffusers()
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(1)
        parts = text_parts(folder)
        vae = library.AutoencoderOobleck(
            encoder_hidden_size=16,
            downsampling_ratios=[4, 8, 8],
            channel_multiples=[1, 1, 2],
            decoder_channels=8,
            decoder_input_channels=8,
            audio_channels=2,
            sampling_rate=SAMPLE_RATE,
        )
        faithful(vae)
        transformer = library.StableAudioDiTModel(
            sample_size=128,
            in_channels=8,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            num_key_value_attention_heads=2,
            out_channels=8,
            cross_attention_dim=TEXT_WIDTH,
            time_proj_dim=8,
            global_states_input_dim=2 * TEXT_WIDTH,
            cross_attention_input_dim=TEXT_WIDTH,
        )
        projection = library.StableAudioProjectionModel(
            text_encoder_dim=TEXT_WIDTH, conditioning_dim=TEXT_WIDTH, min_value=0, max_value=512
        )
        library.StableAudioPipeline(
            vae=vae,
            transformer=transformer,
            projection_model=projection,
            scheduler=library.CosineDPMSolverMultistepScheduler(),
            **parts,
        ).save_pretrained(folder)
    return folder


def save_ace_step(folder: Path, *, turbo: bool = True) -> Path:
    """Save an ACE-Step 1.5 in stereo with Qwen3's kind of text encoder, turbo or base."""
    import torch
    import transformers

    library = diffusers()
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(3)
        words = save_tokenizer(folder / "tokenizer", words=("#", "Instruction", "Caption"))
        attention = {
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 8,
            "intermediate_size": 32,
            "sliding_window": 16,
        }
        encoder = parts_of("ace_step").AceStepConditionEncoder(
            hidden_size=16,
            text_hidden_dim=TEXT_WIDTH,
            timbre_hidden_dim=8,
            num_lyric_encoder_hidden_layers=1,
            num_timbre_encoder_hidden_layers=1,
            **attention,
        )
        encoder.silence_latent.copy_(torch.randn(encoder.silence_latent.shape))
        library.AceStepPipeline(
            vae=library.AutoencoderOobleck(
                encoder_hidden_size=16,
                downsampling_ratios=[4, 8, 10],
                channel_multiples=[1, 1, 2],
                decoder_channels=8,
                decoder_input_channels=8,
                audio_channels=2,
                sampling_rate=SAMPLE_RATE,
            ),
            text_encoder=transformers.Qwen3Model(
                transformers.Qwen3Config(
                    vocab_size=words,
                    hidden_size=TEXT_WIDTH,
                    intermediate_size=32,
                    num_hidden_layers=2,
                    num_attention_heads=2,
                    num_key_value_heads=1,
                    head_dim=8,
                )
            ),
            tokenizer=transformers.AutoTokenizer.from_pretrained(folder / "tokenizer"),
            transformer=library.AceStepTransformer1DModel(
                hidden_size=16,
                num_hidden_layers=2,
                in_channels=24,
                audio_acoustic_hidden_dim=8,
                is_turbo=turbo,
                **attention,
            ),
            condition_encoder=encoder,
            scheduler=library.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
        ).save_pretrained(folder)
    return folder


def save_audioldm2(folder: Path) -> Path:
    """Save an AudioLDM 2 of 2.048 s with its four text models and its vocoder."""
    import torch
    import transformers

    library, own, width = diffusers(), parts_of("audioldm2"), 16
    gpt2: Any = transformers.GPT2Config
    letters = "abcdefghijklmnopqrstuvwxyz"
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(4)
        roberta: Any = transformers.RobertaTokenizer
        known = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters, "\u0120"]
        t5: Any = transformers.T5Tokenizer
        pieces = ["<pad>", "</s>", "<unk>", "\u2581", *letters]
        library.AudioLDM2Pipeline(
            vae=library.AutoencoderKL(
                block_out_channels=[8, 16],
                in_channels=1,
                out_channels=1,
                norm_num_groups=8,
                down_block_types=["DownEncoderBlock2D"] * 2,
                up_block_types=["UpDecoderBlock2D"] * 2,
                latent_channels=4,
            ),
            text_encoder=_tiny_clap(len(known), width=width),
            text_encoder_2=transformers.T5EncoderModel(
                transformers.T5Config(
                    vocab_size=len(pieces),
                    d_model=TEXT_WIDTH,
                    d_kv=8,
                    d_ff=32,
                    num_layers=1,
                    num_heads=2,
                )
            ),
            projection_model=own.AudioLDM2ProjectionModel(
                text_encoder_dim=width, text_encoder_1_dim=TEXT_WIDTH, langauge_model_dim=width
            ),
            language_model=transformers.GPT2Model(
                gpt2(
                    n_embd=width,
                    n_head=2,
                    n_layer=1,
                    vocab_size=32,
                    n_positions=128,
                    max_new_tokens=8,
                )
            ),
            tokenizer=roberta(
                vocab={x: n for n, x in enumerate(known)}, merges=[], model_max_length=48
            ),
            tokenizer_2=t5(vocab=[(x, -1.0) for x in pieces], extra_ids=0, model_max_length=48),
            feature_extractor=transformers.ClapFeatureExtractor(feature_size=8),
            unet=own.AudioLDM2UNet2DConditionModel(
                block_out_channels=(8, 16),
                layers_per_block=1,
                norm_num_groups=8,
                sample_size=128,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                attention_head_dim=2,
                cross_attention_dim=[[None, width, None, TEXT_WIDTH]] * 2,
            ),
            scheduler=library.DDIMScheduler(
                beta_start=0.0015,
                beta_end=0.0195,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
            vocoder=transformers.SpeechT5HifiGan(
                transformers.SpeechT5HifiGanConfig(
                    model_in_dim=8,
                    sampling_rate=SAMPLE_RATE,
                    upsample_initial_channel=16,
                    upsample_rates=[8, 8],
                    upsample_kernel_sizes=[16, 16],
                    resblock_kernel_sizes=[3],
                    resblock_dilation_sizes=[[1, 3]],
                    normalize_before=False,
                    initializer_range=0.2,
                )
            ),
        ).save_pretrained(folder)
    return folder


def _tiny_clap(words: int, *, width: int) -> Any:
    import transformers

    return transformers.ClapModel(
        transformers.ClapConfig(
            text_config={
                "vocab_size": words,
                "hidden_size": 8,
                "intermediate_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "max_position_embeddings": 64,
                "projection_dim": width,
            },
            audio_config={
                "spec_size": 8,
                "window_size": 4,
                "num_mel_bins": 8,
                "depths": [1, 1],
                "num_attention_heads": [1, 1],
                "num_hidden_layers": 2,
                "hidden_size": 8,
                "patch_size": 2,
                "patch_stride": 2,
                "patch_embeds_hidden_size": 4,
                "projection_dim": width,
            },
            projection_dim=width,
        )
    )
