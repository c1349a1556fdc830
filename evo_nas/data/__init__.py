"""Image sets: found, checked, decoded once for all processes, and augmented on the device.

The way of an image: a source reads it from the user's files; the decoded cache holds it as uint8 pixels that every
worker process maps into memory; an image set opens the train part for the search, and the test part only on
request by name; augmentation happens on the device, a batch at a time.

Names and folders:   :mod:`evo_nas.data.sources.catalogue`
Sources:             :mod:`evo_nas.data.sources.base`, :mod:`evo_nas.data.sources.image_folder`,
                     :mod:`evo_nas.data.sources.cifar`, :mod:`evo_nas.data.sources.digits`, found by
                     :mod:`evo_nas.data.sources.locate`
Decoded, shared:     :mod:`evo_nas.data.decoded`, :mod:`evo_nas.data.images`
For a training:      :mod:`evo_nas.data.split`, :mod:`evo_nas.data.augment`
With boxes:          :mod:`evo_nas.data.boxes.source`, :mod:`evo_nas.data.boxes.value`,
                     :mod:`evo_nas.data.boxes.augment`
Commands:            :mod:`evo_nas.data.sources.fetch`, :mod:`evo_nas.data.sources.check`

Nothing is imported here: the command line reads the catalogue without paying for numpy or torch.
"""
