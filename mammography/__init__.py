"""The house: what a mammogram is, what we remember, what sees, and what we say.

Glossary (the standard's words, used as they are):

association: a DICOM network conversation between two application entities (PS3.8).
instance: one stored SOP instance, usually one image (PS3.4).
study: all instances of one Study Instance UID; the unit that is read and answered.
mammogram: one image of one view of one breast, opened for reading.
view: laterality and view position together, such as the right mediolateral oblique.
screening set: right and left, craniocaudal and mediolateral oblique: four views.
reader: the network with its weights, plan and thresholds, that finds calcifications.
speck: one calcification at one point of one image.
finding: a cluster of specks (or one large benign calcification) on one image.
assessment: everything that one reading says about one study, image by image.
ledger: the database that remembers where every study is.
doorbell: the message that wakes a worker; it carries an identity and nothing else.
report, presentation state: the DICOM objects that say and show the findings.
delivery: one object on its way to one destination.
commitment: a destination's promise to keep what it was sent (Storage Commitment, PS3.4 annex J).
revision: the next answer to the same study, after a late image arrived.
"""

__version__ = "0.1.0"
