"""Batches made on a device: rows sent as they are stored, masked and numbered there.

transfer_layout   the rows of a batch as one run of bytes, written on the host and read on the device
device_fields     the fields of a batch from these bytes, in tensor operations
copy_stream         the CUDA stream on which both happen, beside the model's
device_batches    `DeviceBatches`: one batch ahead of the one in use
find_device       a device by its name
gather_masked     the predicted positions as lists, on the host
"""
