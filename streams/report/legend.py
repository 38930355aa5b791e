"""What the page calls each contestant and each forecast, and the colour of each line."""

from models.learning.scoreboard import BG_NBD, PREVIOUS, RFM, SERVED
from schemas.learning import SCORES
from streams.report.evaluation import PRIOR

P_30, P_90, COUNT_90, SPEND_90 = SCORES

# Contestant -> its name in legends and tables.
NAMES = {
    SERVED: "Regulars, learning",
    PREVIOUS: "Regulars, a month behind",
    BG_NBD: "BG/NBD × Gamma-Gamma, refitted",
    RFM: "RFM cells",
    PRIOR: "before any learning",
}
# Contestant -> its name within a sentence.
SHORT_NAMES = {SERVED: "Regulars", BG_NBD: "BG/NBD", RFM: "RFM"}

# Okabe and Ito's palette: colour-blind readers tell these apart, and so does a reader of a print.
COLORS = {SERVED: "#0072B2", PREVIOUS: "#56B4E9", BG_NBD: "#D55E00", RFM: "#7A7A7A", PRIOR: "#CC79A7"}
ACTUAL_COLOR = "#1B1B1B"
REFERENCE_COLOR = "#9A9A9A"

# Forecast -> the question that it answers.
QUESTIONS = {
    P_30: "Will they buy in the next 30 days?",
    P_90: "Will they buy in the next 90 days?",
    COUNT_90: "How many purchases in 90 days?",
    SPEND_90: "How much will they spend in 90 days?",
}

# Measure -> which value of it is better.
BETTER = {
    "AUC": "higher", "log loss": "lower", "ECE": "lower", "Spearman": "higher", "normalized Gini": "higher",
    "RMSE": "lower", "MAE": "lower", "total": "near 1",
}  # fmt: skip

# In a table, where too few customers stand behind a figure.
NO_FIGURE = "–"
