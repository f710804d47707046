# SPDX-License-Identifier: Apache-2.0
"""train.py LOG [WIDTH]: trains a small network on data that depends on the step alone, deterministically, and logs
"tick STEP LOSS SECONDS" with the loss to its last bit: two runs log the same losses, whatever happens in between."""
import os
import sys
import time

os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
import torch

torch.manual_seed(1)
torch.use_deterministic_algorithms(True)
width = int(sys.argv[2]) if len(sys.argv) > 2 else 4096
device = torch.device("cuda")
model = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.GELU(), torch.nn.Linear(width, width)).to(device)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
batches = torch.randn(8, 256, width, device=device)
with open(sys.argv[1], "w") as log:
    step = 0
    while True:
        step += 1
        batch = batches[step % 8]
        loss = torch.nn.functional.mse_loss(model(batch), torch.sin(batch * 3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print("tick", step, float(loss).hex(), f"{time.time():.6f}", file=log, flush=True)
        time.sleep(0.005)
