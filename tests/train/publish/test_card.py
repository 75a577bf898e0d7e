"""What a model card says about the training of the weights, and of those that they started from."""

from toy_training import TINY

from denoiser.model import DenoisingAutoencoder
from denoiser.weights import Weights, load_weights
from train.publish.card import CAMERA_LIMITS, DATA_TERMS, GAUSSIAN_LIMITS, card_text, limits_text, terms_text


def facts(data, camera_share=0.0, **others):
    settings = [{"from_step": 0, "camera_share": camera_share}]
    counts = {"steps": 9, "crops": 9, "minutes": 1, "device": "cpu", "validation_psnr": 30.0}
    return {"data": data, "settings": settings, "started_from": None, **counts, **others}


def test_the_terms_and_noise_of_the_weights_that_a_run_started_from_stay_in_the_card():
    first = facts(["hub:user/set", "bsds400"], camera_share=0.5)
    last = facts(["my-photos"], started_from=facts(["bsds400"], started_from=first))
    assert terms_text(last) == (
        f"They were trained on the photo folder 'my-photos', and on {DATA_TERMS['bsds400']}, "
        "and on the Hub dataset user/set, under its terms."
    )
    assert limits_text(last) == CAMERA_LIMITS and limits_text(last | {"started_from": None}) == GAUSSIAN_LIMITS
    card = card_text("mine", Weights(DenoisingAutoencoder(TINY), "mine", training=last), "0" * 64, [], [])
    assert terms_text(last) in card and CAMERA_LIMITS in card and "datasets:\n- user/set\n" in card
    assert card.count("(mean of levels 15, 25 and 50)") == 2
    assert card.count("(half of it the mean of levels 15, 25 and 50, half simulated uploads)") == 1


def test_data_that_is_not_recorded_is_not_passed_over():
    assert terms_text({}) == "Their training data is not recorded."
    later = terms_text(facts(["photos"], started_from={}))
    assert later == "They were trained on the photo folder 'photos', and on earlier data that is not recorded."


def test_only_a_keyword_has_the_terms_of_the_keyword():
    assert terms_text(facts(["synthetic/"])) == "They were trained on the photo folder 'synthetic/'."
    bundled = terms_text(load_weights("photo").training)
    assert DATA_TERMS["bsds400"] in bundled and DATA_TERMS["photos_open"] in bundled and "folder" not in bundled
